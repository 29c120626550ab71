"""Solvers by name, and the checking of their options."""

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
    if name not in SOLVERS:
        raise ProblemError(f"solver={name}: no such solver{_nearest(name, SOLVERS)}")
    module, kind = SOLVERS[name]
    solver: type[Any] = getattr(import_module(module), kind)
    known = solver.Config.__dataclass_fields__
    for key in options:
        if key not in known:
            raise ProblemError(f"solver.{key}: no such option of {name}{_nearest(key, known)}")
    try:
        config = solver.Config(**options)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ProblemError(f"solver.{key}={first['input']!r}: {first['msg']}") from error
    made: Solver = solver(config, backend=backend, ledger=ledger, budget=budget, fallback=fallback)
    return made


def _nearest(name: str, known: Any) -> str:
    close = get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; {', '.join(known)} are accepted"
