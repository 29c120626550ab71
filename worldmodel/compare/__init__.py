"""`python -m worldmodel.compare`: arms and their controls at equal budget, with a verdict."""
