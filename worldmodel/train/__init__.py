"""`python -m worldmodel.train`: a world-model agent."""
