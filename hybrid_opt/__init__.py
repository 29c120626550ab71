"""Subproblems for quantum processors, behind the same contract as their classical twins."""

from hybrid_opt.cost import Cost, SolverCost
from hybrid_opt.errors import BackendError, BudgetExceeded, ProblemError
from hybrid_opt.qubo import Qubo
from hybrid_opt.solvers import Solution, Solver, make_solver

__all__ = [
    "BackendError",
    "BudgetExceeded",
    "Cost",
    "ProblemError",
    "Qubo",
    "Solution",
    "Solver",
    "SolverCost",
    "make_solver",
]
