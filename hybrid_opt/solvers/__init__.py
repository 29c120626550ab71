"""One solver a file, all behind the same contract."""

from hybrid_opt.solvers.registry import SOLVERS, make_solver
from hybrid_opt.solvers.solver import Solution, Solver

__all__ = ["SOLVERS", "Solution", "Solver", "make_solver"]
