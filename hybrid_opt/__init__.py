"""Subproblems for quantum processors, behind the same contract as their classical twins."""

from typing import TYPE_CHECKING, Any

from hybrid_opt.cost import Cost, SolverCost
from hybrid_opt.errors import BackendError, BudgetExceeded, ProblemError
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.solvers import Solution, Solver, make_solver

if TYPE_CHECKING:
    from hybrid_opt.direction.optimizer import HybridOptimizer
    from hybrid_opt.layers.layer import CircuitLayer
    from hybrid_opt.search.sampler import QuboSampler

__all__ = [
    "BackendError",
    "BudgetExceeded",
    "CircuitLayer",
    "Cost",
    "HybridOptimizer",
    "ProblemError",
    "Qubo",
    "QuboSampler",
    "Solution",
    "Solver",
    "SolverCost",
    "make_solver",
]


def __getattr__(name: str) -> Any:
    """These are imported when they are asked for, since Optuna and PyTorch are slow to import."""
    if name == "QuboSampler":
        from hybrid_opt.search.sampler import QuboSampler

        return QuboSampler
    if name == "HybridOptimizer":
        from hybrid_opt.direction.optimizer import HybridOptimizer

        return HybridOptimizer
    if name == "CircuitLayer":
        from hybrid_opt.layers.layer import CircuitLayer

        return CircuitLayer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
