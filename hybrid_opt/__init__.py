"""Subproblems for quantum processors, behind the same contract as their classical twins."""

from typing import TYPE_CHECKING, Any

from hybrid_opt.cost import Cost, SolverCost
from hybrid_opt.errors import BackendError, BudgetExceeded, ProblemError
from hybrid_opt.qubo import Qubo
from hybrid_opt.solvers import Solution, Solver, make_solver

if TYPE_CHECKING:
    from hybrid_opt.search import QuboSampler

__all__ = [
    "BackendError",
    "BudgetExceeded",
    "Cost",
    "ProblemError",
    "Qubo",
    "QuboSampler",
    "Solution",
    "Solver",
    "SolverCost",
    "make_solver",
]


def __getattr__(name: str) -> Any:
    """QuboSampler is imported when it is asked for, since Optuna is slow to import."""
    if name == "QuboSampler":
        from hybrid_opt.search import QuboSampler

        return QuboSampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
