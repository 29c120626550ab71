"""`python -m worldmodel.evaluate`: the greedy return of a trained agent, its videos and predictions."""
