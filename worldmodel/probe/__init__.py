"""`python -m worldmodel.probe NAME`: measures of parts by themselves."""
