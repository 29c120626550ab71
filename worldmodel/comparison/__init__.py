"""Comparisons of arms at equal budget: the plan, its runs, their statistics and the report."""
