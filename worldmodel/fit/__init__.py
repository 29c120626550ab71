"""`python -m worldmodel.fit`: a small model on fixed data, by one optimiser."""
