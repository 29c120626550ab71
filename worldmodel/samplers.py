"""What proposes values and what stops trials: the groups `sampler` and `pruner`, as Optuna's objects."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
_strict = ConfigDict(extra="forbid", frozen=True)


@dataclass(config=_strict)
class Qubo:
    """`hybrid_opt.search.QuboSampler`; what is `auto` is left to it."""

    name: Literal["qubo"]
    surrogate: str
    solver: str
    options: dict[str, Any]
    backend: str
    n_startup_trials: Literal["auto"] | Positive
    seed: Seed

    def make(self) -> "BaseSampler":
        """Raises ProblemError where the surrogate, the solver or one of its options is none."""
        from hybrid_opt.search import QuboSampler

        values = {"surrogate": self.surrogate, "solver": self.solver, "n_startup_trials": self.n_startup_trials}
        given = {key: value for key, value in values.items() if value != "auto"}
        sampler: BaseSampler = QuboSampler(**given, backend=self.backend, seed=self.seed)
        return sampler


@dataclass(config=_strict)
class Tpe:
    """Optuna's tree-structured Parzen estimator."""

    name: Literal["tpe"]
    multivariate: bool
    n_startup_trials: Count
    seed: Seed

    def make(self) -> "BaseSampler":
        from optuna.samplers import TPESampler

        return TPESampler(
            multivariate=self.multivariate,
            n_startup_trials=self.n_startup_trials,
            constant_liar=True,
            seed=self.seed,
        )


@dataclass(config=_strict)
class Gp:
    """Optuna's Gaussian process."""

    name: Literal["gp"]
    n_startup_trials: Count
    seed: Seed

    def make(self) -> "BaseSampler":
        from optuna.samplers import GPSampler

        return GPSampler(n_startup_trials=self.n_startup_trials, warn_independent_sampling=False, seed=self.seed)


@dataclass(config=_strict)
class CmaEs:
    """Optuna's CMA-ES."""

    name: Literal["cmaes"]
    n_startup_trials: Count
    seed: Seed

    def make(self) -> "BaseSampler":
        from optuna.samplers import CmaEsSampler

        return CmaEsSampler(n_startup_trials=self.n_startup_trials, warn_independent_sampling=False, seed=self.seed)


@dataclass(config=_strict)
class Random:
    """Optuna's random sampler."""

    name: Literal["random"]
    seed: Seed

    def make(self) -> "BaseSampler":
        from optuna.samplers import RandomSampler

        return RandomSampler(self.seed)


Sampler = Annotated[Qubo | Tpe | Gp | CmaEs | Random, Field(discriminator="name")]


def reseeded(sampler: Qubo | Tpe | Gp | CmaEs | Random, *entropy: int) -> "BaseSampler":
    """A sampler whose seed depends on its own and on further numbers: workers, and continuations, draw differently."""
    import numpy as np

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
    """Optuna's median pruner."""

    name: Literal["median"]
    n_startup_trials: Count
    n_warmup_steps: Count

    def make(self, points: int) -> "BasePruner":
        from optuna.pruners import MedianPruner

        return MedianPruner(self.n_startup_trials, self.n_warmup_steps)


@dataclass(config=_strict)
class Hyperband:
    """Optuna's Hyperband."""

    name: Literal["hyperband"]
    min_resource: Positive
    reduction_factor: Annotated[int, Field(ge=2)]

    def make(self, points: int) -> "BasePruner":
        """points: of the curve of a whole trial, the resource."""
        from optuna.pruners import HyperbandPruner

        return HyperbandPruner(self.min_resource, max(points, self.min_resource), self.reduction_factor)


Pruner = Annotated[NoPruner | Median | Hyperband, Field(discriminator="name")]
