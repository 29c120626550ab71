"""Schedules of angles: `angles(qubo, layers, evaluate=None, budget=0) -> (gammas, betas)`."""
