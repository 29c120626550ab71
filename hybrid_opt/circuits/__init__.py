"""The circuits that solvers run, and their angle schedules."""
