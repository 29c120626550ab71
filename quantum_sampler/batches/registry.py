"""Engines by name."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from hybrid_opt import ProblemError
from quantum_sampler.batches.dpp import Determinantal
from quantum_sampler.batches.engine import Engine
from quantum_sampler.batches.facility import Facility, FacilityGreedy
from quantum_sampler.batches.greedy import Greedy
from quantum_sampler.batches.kawasaki import Kawasaki
from quantum_sampler.batches.pivotal import Pivotal
from quantum_sampler.batches.systematic import Systematic
from quantum_sampler.selector import OptionError

EngineName = Literal[
    "auto",
    "kawasaki",
    "annealing",
    "path_integral",
    "qaoa",
    "greedy",
    "facility",
    "facility_greedy",
    "dpp",
    "systematic",
    "pivotal",
]
ENGINES: tuple[str, ...] = get_args(EngineName)
SOLVERS = ("annealing", "path_integral", "qaoa")


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
    if name not in ENGINES:
        raise OptionError(f"replay.engine={name}: no such engine; {', '.join(ENGINES)} are accepted")
    if options:
        raise OptionError(f"replay.options={dict(options)}: {name} takes none; {', '.join(SOLVERS)} do")
    if backend != "statevector":
        label = getattr(backend, "name", backend)
        raise OptionError(f"backend={label}: replay.engine={name} runs on none; auto, {', '.join(SOLVERS)} do")
    made: dict[str, Any] = {
        "kawasaki": lambda: Kawasaki(reads, sweeps),
        "facility": lambda: Facility(reads),
        "facility_greedy": FacilityGreedy,
        "greedy": Greedy,
        "dpp": Determinantal,
        "systematic": Systematic,
        "pivotal": Pivotal,
    }
    engine: Engine = made[name]()
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
