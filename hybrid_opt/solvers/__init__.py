"""One solver a file, all behind the same contract."""

from hybrid_opt.solvers.registry import SOLVERS, check_solver, make_solver, with_noise
from hybrid_opt.solvers.solver import Solution, Solver

__all__ = ["SOLVERS", "Solution", "Solver", "check_solver", "make_solver", "with_noise"]
