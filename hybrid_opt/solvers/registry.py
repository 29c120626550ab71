"""Solvers by name, and the checking of their options."""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from hybrid_opt.errors import ProblemError
from hybrid_opt.solvers.solver import Solver

SOLVERS = {  # name -> module and class; imported when it is asked for, since vendor libraries are slow to import
    "exact": ("hybrid_opt.solvers.exact", "Exact"),
    "random": ("hybrid_opt.solvers.random", "Random"),
    "greedy": ("hybrid_opt.solvers.greedy", "Greedy"),
    "annealing": ("hybrid_opt.solvers.annealing", "Annealing"),
    "path_integral": ("hybrid_opt.solvers.path_integral", "PathIntegral"),
    "qaoa": ("hybrid_opt.solvers.qaoa", "Qaoa"),
    "grover": ("hybrid_opt.solvers.grover", "Grover"),
    "vqe": ("hybrid_opt.solvers.vqe", "Vqe"),
}


def make_solver(
    name: str,
    *,
    backend: Any = "statevector",
    ledger: Any = None,
    budget: Any = None,
    fallback: Any = None,
    **options: Any,
) -> Solver:
    """Make a solver.

    backend: where its circuits or anneals run: a name, or a Backend. ledger: a Ledger or the path of its file, in which
    every program is recorded. budget: the most that may be spent (a Cost, or a mapping of shots, seconds, dollars).
    fallback: the name of a backend that takes over where the first one fails. options: of the solver's config.

    Raises ProblemError for an unknown name or option, or a value that is not accepted.
    """
    solver, config = _configured(name, "solver", options)
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
    _configured(name, key, {option: value for option, value in options.items() if option != "backend"})
    return name, options


def _configured(name: str, path: str, options: dict[str, Any]) -> tuple[type[Any], Any]:
    """The class of a solver and its config."""
    if name not in SOLVERS:
        raise ProblemError(f"{path}={name}: no such solver{_nearest(name, SOLVERS)}")
    module, kind = SOLVERS[name]
    solver: type[Any] = getattr(import_module(module), kind)
    known = solver.Config.__dataclass_fields__
    for key in options:
        if key not in known:
            raise ProblemError(f"{path}.{key}: no such option of {name}{_nearest(key, known)}")
    try:
        return solver, solver.Config(**options)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # of several options together; the message begins with one of them
            raise ProblemError(f"{path}.{first['ctx']['error']}") from None
        key = ".".join(str(part) for part in first["loc"])
        raise ProblemError(f"{path}.{key}={first['input']!r}: {first['msg']}") from error


def _nearest(name: str, known: Any) -> str:
    close = get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; {', '.join(known)} are accepted"
