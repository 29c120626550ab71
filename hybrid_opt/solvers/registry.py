"""Solvers by name."""

from collections.abc import Mapping
from typing import Any

from hybrid_opt.errors import ProblemError
from hybrid_opt.parts import Parts
from hybrid_opt.solvers.solver import Solver

SOLVERS = Parts("solver", "hybrid_opt.solvers", "Solver")


def make_solver(
    name: str,
    *,
    backend: Any = "statevector",
    ledger: Any = None,
    budget: Any = None,
    fallback: Any = None,
    **options: Any,
) -> Solver:
    """Make a solver, by its name or as `module:Class`.

    backend: where its circuits or anneals run: a name, or a Backend. ledger: a Ledger or the path of its file, in which
    every program is recorded. budget: the most that may be spent (a Cost, or a mapping of shots, seconds, dollars).
    fallback: the name of a backend that takes over where the first one fails. options: of the solver's config.

    Raises ProblemError for an unknown name or option, or a value that is not accepted.
    """
    solver, config = SOLVERS.configured(name, "solver", options)
    made: Solver = solver(config, backend=backend, ledger=ledger, budget=budget, fallback=fallback)
    return made


def check_solver(solver: Any, key: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of a solver that is given by name, or as a mapping of `name` and options.

    Nothing is opened. Raises ProblemError for what is not accepted; it says `key`.
    """
    options = {"name": solver} if isinstance(solver, str) else dict(solver) if isinstance(solver, Mapping) else {}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ProblemError(f"{key}={solver}: the name of a solver, or {{name: ..., ...}} with its options, is accepted")
    SOLVERS.configured(name, key, {option: value for option, value in options.items() if option != "backend"})
    return name, options
