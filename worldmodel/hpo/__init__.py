"""`python -m worldmodel.hpo`: the hyperparameters of a small model, by one sampler."""
