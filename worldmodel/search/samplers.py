"""What proposes values and what stops trials: the groups `sampler` and `pruner`, as Optuna's objects."""

from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
_strict = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(config=_strict, kw_only=True)
class Qubo:
    """A surrogate of the objective as a QUBO, whose minimum a solver proposes."""

    name: Literal["qubo"]
    surrogate: str = "auto"
    """smooth, factorization or sparse; auto: the sampler's default"""
    surrogate_options: dict[str, Any] = field(default_factory=dict)
    """of the surrogate"""
    solver: str = "auto"
    """exact, annealing, path_integral, greedy, random, qaoa, grover or vqe; auto: exact where states are few, else
    annealing"""
    options: dict[str, Any] = field(default_factory=dict)
    """of the solver, such as sampler.options.layers=3"""
    backend: str
    """where a solver that is named runs"""
    budget: dict[str, float] | None
    """the most that its jobs may cost"""
    n_startup_trials: Literal["auto"] | Positive = "auto"
    """trials at space-filling points, before the surrogate is asked; auto: 20 to 50"""
    seed: Seed
    """of the proposals"""

    def make(self, ledger: Path | None = None) -> "BaseSampler":
        """ledger: the file of the jobs on a backend. Raises ProblemError for what is not accepted."""
        from hybrid_opt.backends.ledger.budget import limits_of
        from hybrid_opt.search.sampler import QuboSampler

        if self.budget is not None:
            limits_of(self.budget)
        named = {"surrogate": self.surrogate, "solver": self.solver, "n_startup_trials": self.n_startup_trials}
        given: dict[str, Any] = {key: value for key, value in named.items() if value != "auto"}
        return QuboSampler(
            **given,
            surrogate_options=self.surrogate_options,
            solver_options=self.options,
            backend=self.backend,
            ledger=None if self.backend == "statevector" else ledger,
            budget=None if self.backend == "statevector" else self.budget,
            seed=self.seed,
        )


@dataclass(config=_strict, kw_only=True)
class Tpe:
    """Tree-structured Parzen estimator."""

    name: Literal["tpe"]
    multivariate: bool = True
    """model the parameters together"""
    n_startup_trials: Count = 10
    """random trials before the model is asked"""
    seed: Seed
    """of the proposals"""

    def make(self, ledger: Path | None = None) -> "BaseSampler":
        from optuna.samplers import TPESampler

        return TPESampler(
            multivariate=self.multivariate,
            n_startup_trials=self.n_startup_trials,
            constant_liar=True,
            seed=self.seed,
        )


@dataclass(config=_strict, kw_only=True)
class Gp:
    """Gaussian process."""

    name: Literal["gp"]
    n_startup_trials: Count = 10
    """random trials before the model is asked"""
    seed: Seed
    """of the proposals"""

    def make(self, ledger: Path | None = None) -> "BaseSampler":
        from optuna.samplers import GPSampler

        return GPSampler(n_startup_trials=self.n_startup_trials, warn_independent_sampling=False, seed=self.seed)


@dataclass(config=_strict, kw_only=True)
class CmaEs:
    """CMA-ES; categorical parameters are drawn at random."""

    name: Literal["cmaes"]
    n_startup_trials: Count = 1
    """random trials before the first generation"""
    seed: Seed
    """of the proposals"""

    def make(self, ledger: Path | None = None) -> "BaseSampler":
        from optuna.samplers import CmaEsSampler

        return CmaEsSampler(n_startup_trials=self.n_startup_trials, warn_independent_sampling=False, seed=self.seed)


@dataclass(config=_strict, kw_only=True)
class Random:
    """Independent draws, the control for the others."""

    name: Literal["random"]
    seed: Seed
    """of the proposals"""

    def make(self, ledger: Path | None = None) -> "BaseSampler":
        from optuna.samplers import RandomSampler

        return RandomSampler(self.seed)


Sampler = Annotated[Qubo | Tpe | Gp | CmaEs | Random, Field(discriminator="name")]


def within(sampler: Sampler, noise: Mapping[str, Any]) -> Sampler:
    """A sampler whose solver has the noise of a run, where it simulates circuits."""
    from hybrid_opt.solvers import with_noise

    if not isinstance(sampler, Qubo) or sampler.solver == "auto" or noise["name"] == "none":
        return sampler
    solver = with_noise({**sampler.options, "name": sampler.solver}, noise, sampler.backend, "sampler.solver")
    return replace(sampler, options={key: value for key, value in solver.items() if key != "name"})


def say_uncounted(sampler: Sampler) -> None:
    """Say that a budget counts nothing, where the sampler's shots are simulated here."""
    if isinstance(sampler, Qubo) and sampler.budget is not None and sampler.backend == "statevector":
        print("sampler.budget: sampler.backend=statevector counts nothing; shots simulated here are free")


def reseeded(sampler: Qubo | Tpe | Gp | CmaEs | Random, ledger: Path, *entropy: int) -> "BaseSampler":
    """A sampler whose draws also depend on further numbers: those of other workers, and of continuations, differ.

    Those of QuboSampler depend on the number of the trial anyway; its workers share a design of start points.
    """
    import numpy as np

    if isinstance(sampler, Qubo):
        return sampler.make(ledger)
    (seed,) = np.random.SeedSequence([sampler.seed, *entropy]).generate_state(1)
    return replace(sampler, seed=int(seed)).make()


@dataclass(config=_strict)
class NoPruner:
    """Every trial runs to its end."""

    name: Literal["none"]

    def make(self, points: int) -> "BasePruner":
        from optuna.pruners import NopPruner

        return NopPruner()


@dataclass(config=_strict)
class Median:
    """Stops a trial whose best so far is below the median of the others at the same point of the curve."""

    name: Literal["median"]
    n_startup_trials: Count = 5
    """trials that end before any is stopped"""
    n_warmup_steps: Count = 1
    """points of the curve before a trial may be stopped"""

    def make(self, points: int) -> "BasePruner":
        from optuna.pruners import MedianPruner

        return MedianPruner(self.n_startup_trials, self.n_warmup_steps)


@dataclass(config=_strict)
class Hyperband:
    """Successive halving in several brackets."""

    name: Literal["hyperband"]
    min_resource: Positive = 1
    """points of the curve that every trial gets"""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """one of so many goes on at each rung"""

    def make(self, points: int) -> "BasePruner":
        """points: of the curve of a whole trial, the resource."""
        from optuna.pruners import HyperbandPruner

        return HyperbandPruner(self.min_resource, max(points, self.min_resource), self.reduction_factor)


Pruner = Annotated[NoPruner | Median | Hyperband, Field(discriminator="name")]
