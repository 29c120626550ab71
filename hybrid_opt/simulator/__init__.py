"""Batched state-vector simulation of the circuits that solvers run."""
