"""Engines by name."""

from collections.abc import Mapping
from typing import Any, Literal

from hybrid_opt import ProblemError
from hybrid_opt.parts import Parts
from quantum_sampler.batches.engine import Engine
from quantum_sampler.selector import OptionError

LOCAL = Parts("engine", "quantum_sampler.batches", "Local", options=False, error=OptionError)
SOLVERS = ("annealing", "path_integral", "qaoa")
ENGINES = ("auto", *LOCAL, *SOLVERS)


def check_engine(name: str, key: str) -> None:
    """Raise OptionError, which says `key`, for a name that is no engine."""
    if name not in ("auto", *SOLVERS):
        LOCAL.find(name, key, beside=("auto", *SOLVERS))


def make_engine(
    name: str = "auto",
    *,
    reads: int = 256,
    sweeps: int = 16,
    options: Mapping[str, Any] | None = None,
    infeasible: Literal["auto", "drop", "repair"] = "auto",
    backend: Any = "statevector",
) -> Engine:
    """Make an engine.

    auto: kawasaki right here; on another backend annealing or qaoa, whichever it runs. reads: of one pool. sweeps: of
    each read, where the engine anneals. options: of the solver, for annealing, path_integral and qaoa. infeasible: see
    `ThroughSolver`. backend: a name, or one that is open, as `open_backend(name, ledger=..., budget=...)` gives it.
    Raises OptionError.
    """
    if name == "auto":
        name, backend = _suited(backend)
    if name in SOLVERS:
        from quantum_sampler.batches.through_solver import ThroughSolver

        return ThroughSolver(name, reads, sweeps, options or {}, infeasible, backend)
    check_engine(name, "replay.engine")
    if options:
        raise OptionError(f"replay.options={dict(options)}: {name} takes none; {', '.join(SOLVERS)} do")
    if backend != "statevector":
        label = getattr(backend, "name", backend)
        raise OptionError(f"backend={label}: replay.engine={name} runs on none; auto, {', '.join(SOLVERS)} do")
    engine: Engine = LOCAL.find(name, "replay.engine")(reads, sweeps)
    return engine


def _suited(backend: Any) -> tuple[str, Any]:
    """The engine for a backend, and the backend, opened unless it is our own simulator."""
    if backend == "statevector":
        return "kawasaki", backend
    from hybrid_opt.backends import open_backend  # vendor libraries are slow to import

    try:
        opened = open_backend(backend)
    except ProblemError as error:
        raise OptionError(str(error)) from error
    return ("annealing" if opened.capabilities.anneals else "qaoa"), opened
