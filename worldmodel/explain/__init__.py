"""`python -m worldmodel.explain`: which observations made the agent act so, and whether that explanation holds."""
