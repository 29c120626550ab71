"""`python -m worldmodel.search`: hyperparameters of training, by trials on one machine or many."""
