"""Solvers by name."""

from collections.abc import Mapping
from typing import Any

from hybrid_opt.backends.noise import noise_of
from hybrid_opt.errors import ProblemError
from hybrid_opt.parts import Parts
from hybrid_opt.solvers.solver import Solver

WHERE = ("backend", "noise")  # what is given beside the options of a solver
SOLVERS = Parts("solver", "hybrid_opt.solvers", "Solver")


def make_solver(
    name: str,
    *,
    backend: Any = "statevector",
    ledger: Any = None,
    budget: Any = None,
    fallback: Any = None,
    noise: Any = None,
    **options: Any,
) -> Solver:
    """Make a solver, by its name or as `module:Class`.

    backend: where its circuits or anneals run: a name, or a Backend. ledger: a Ledger or the path of its file, in which
    every program is recorded. budget: the most that may be spent (a Cost, or a mapping of shots, seconds, dollars).
    fallback: the name of a backend that takes over where the first one fails. noise: the name of a noise model of
    hybrid_opt/backends/noise, or a mapping of `name` and options: of all circuits, on statevector or aer. Training by
    adjoint gradients knows no noise. options: of the solver's config.

    Raises ProblemError for an unknown name or option, or a value that is not accepted.
    """
    solver, config = SOLVERS.configured(name, "solver", options)
    given = {} if noise is None else {"noise": noise}  # a solver of the user's may take none
    made: Solver = solver(config, backend=backend, ledger=ledger, budget=budget, fallback=fallback, **given)
    return made


def with_noise(solver: Any, noise: Mapping[str, Any], backend: Any, key: str = "solver") -> Any:
    """Return a solver, a name or a mapping, with the noise of a run if its circuits are simulated.

    Circuits on an IBM device have the noise of that device. Raises ProblemError; it says `key`.
    """
    name, options = check_solver(solver, key)
    where = str(options.get("backend", backend))
    if noise["name"] == "none" or SOLVERS.find(name, key).runs_on != "circuits" or where.startswith("ibm:"):
        return solver
    return {"name": name, "noise": dict(noise), **options}


def check_solver(solver: Any, key: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of a solver that is given by name, or as a mapping of `name` and options.

    Nothing is opened. Raises ProblemError for what is not accepted; it says `key`.
    """
    options = {"name": solver} if isinstance(solver, str) else dict(solver) if isinstance(solver, Mapping) else {}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ProblemError(f"{key}={solver}: the name of a solver, or {{name: ..., ...}} with its options, is accepted")
    SOLVERS.configured(name, key, {option: value for option, value in options.items() if option not in WHERE})
    if "noise" in options:
        noise_of(options["noise"], f"{key}.noise")
    return name, options
