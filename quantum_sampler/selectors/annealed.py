"""Annealed batches: whole batches sampled from an Ising law that trades priority against redundancy."""

from collections.abc import Sequence
from dataclasses import field
from math import ceil
from threading import Event
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from hybrid_opt.effect import refuse_idle
from quantum_sampler.batches import BatchLaw, check_engine, drawn, make_engine, matched, similarity
from quantum_sampler.batches.proportional import proportional, systematic
from quantum_sampler.batches.registry import SOLVERS
from quantum_sampler.selector import Floats, Ids, OptionError, Probe
from quantum_sampler.selectors.base.planned import Plan, PlannedSelector, Planning, PlanningConfig


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False))
class AnnealedConfig(PlanningConfig):
    """Whole batches from an Ising law that trades priority against redundancy.

    With per_pool=1 batches are independent given the priorities. More of them share the sampling error of their pool,
    which averaging over them does not lower; raise it where an engine's calls are dear. utility: the log priority, or
    what makes an item's inclusion proportional to its priority. For the engine's options see
    `make_engine`.
    """

    pool: Annotated[int, Field(ge=2, le=4096)] = 64
    """items that a batch is drawn from"""
    pool_by: Literal["uniform", "priority"] = "priority"
    """how they come into the pool: uniform or priority, whose inclusion is then counted"""
    per_pool: Annotated[int, Field(ge=1)] = 1
    """batches made of each pool; more of them share its sampling error"""
    utility: Literal["inclusion", "priority"] = "inclusion"
    """of an item in the law: inclusion, which makes it drawn in proportion to its priority, or priority, its
    logarithm"""
    redundancy: Annotated[float, Field(ge=0)] = 2.0
    """strength of the repulsion between items of similar features"""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """of the law"""
    reads: Annotated[int, Field(ge=1)] = 256
    """batches sampled of each pool, of which the inclusion is counted"""
    sweeps: Annotated[int, Field(ge=1)] = 16
    """of the annealing, for each read"""
    floor: Annotated[float, Field(gt=0, le=1)] = 0.02
    """probability of a uniform batch, which bounds the weights"""
    engine: str = "auto"
    """kawasaki, annealing, path_integral, qaoa, and the controls greedy, facility, facility_greedy, dpp, systematic,
    pivotal; auto: kawasaki here, on a backend annealing or qaoa"""
    options: dict[str, Any] = field(default_factory=dict)
    """of the solver, for annealing, path_integral and qaoa"""
    infeasible: Literal["auto", "drop", "repair"] = "auto"
    """reads of the wrong size: drop, or repair by random removals and additions, which is counted; auto: repair on a
    backend only"""
    backend: Any = "statevector"
    """where annealing and qaoa run"""

    @model_validator(mode="after")
    def _runs_there(self) -> Self:
        check_engine(self.engine, "engine")
        if self.backend != "statevector" and self.engine not in ("auto", *SOLVERS):
            accepted = f"auto, {', '.join(SOLVERS)} are accepted with backend=NAME"
            raise ValueError(f"engine={self.engine}: runs on no backend; {accepted}")
        here = self.backend == "statevector"
        name = self.engine if self.engine != "auto" else "kawasaki" if here else "a solver"
        through = name in ("a solver", *SOLVERS)
        read = through or name in ("kawasaki", "facility")
        refuse_idle(self, "reads", not read, f"engine=kawasaki, facility, {', '.join(SOLVERS)}")
        swept = here and name in ("kawasaki", "annealing", "path_integral")
        refuse_idle(self, "sweeps", not swept, "engine=kawasaki, annealing, path_integral and backend=statevector")
        refuse_idle(self, "infeasible", not through, f"engine={', '.join(SOLVERS)}")
        return self


class Annealed(PlannedSelector):
    """Draws pools of N items and from each of them batches of k by `BatchLaw`, ahead of time.

    The inclusion of a plan is that of the pool times that within the pool, and both are exact, whatever the engine
    does: see `drawn`. In the law an item counts with its score over the pool's inclusion of it, so a pool by priority
    leaves nothing but redundancy to decide. Items never visited have no features and repel nothing.
    """

    def __init__(
        self,
        config: AnnealedConfig,
        capacity: int,
        seed: int | Sequence[int],
        feature_dim: int,
        probe: Probe | None = None,
    ) -> None:
        super().__init__(config, capacity, seed, feature_dim, probe)
        self._annealed = config
        self._engine = make_engine(
            config.engine,
            reads=config.reads,
            sweeps=config.sweeps,
            options=config.options,
            infeasible=config.infeasible,
            backend=config.backend,
        )

    def close(self) -> None:
        super().close()
        self._engine.close()

    def _request(self, batch_size: int, plans: int, rng: np.random.Generator) -> Planning | None:
        config, pool = self._annealed, min(self._annealed.pool, len(self))
        if len(self) < batch_size:
            return None
        if pool < batch_size:
            raise OptionError(f"replay.pool={config.pool}: batches of {batch_size} need a pool of at least as many")
        self._engine.check(pool, batch_size)
        ids, stage = self._pools(ceil(plans / config.per_pool), pool, rng)  # [P, N], and the inclusion of each
        slots = ids % self._items.capacity
        scores, features, seen = self._tree.values[slots], self._shown(slots), self._seen[slots]

        def work(stop: Event) -> list[Plan]:
            utilities = np.log(np.maximum(scores / stage, np.finfo(float).tiny))
            laws = []
            for utility, latents, known in zip(utilities, features, seen, strict=True):
                alike = similarity(latents, known)
                shape = (alike, batch_size, config.redundancy, config.temperature)
                laws.append(BatchLaw(matched(utility, *shape) if config.utility == "inclusion" else utility, *shape))
            made = []
            for place, reads in enumerate(self._engine.draw(laws, config.per_pool, rng, stop)):
                batches, inclusion = drawn(laws[place], reads, config.per_pool, config.floor, rng)
                made.append([Plan(ids[place][row], (stage[place] * inclusion)[row]) for row in batches])
            return [plan for turn in zip(*made, strict=True) for plan in turn][:plans]  # those of one pool far apart

        return work

    def _pools(self, count: int, size: int, rng: np.random.Generator) -> tuple[Ids, Floats]:
        """Ids int64 [count, size], and how likely each was to come into its pool, float64 [count, size]."""
        if self._annealed.pool_by == "uniform":
            indices = np.stack([rng.choice(len(self), size, replace=False) for _ in range(count)])
            return self._items.at(indices), np.full((count, size), size / len(self))
        ids = self._items.ids
        inclusion = proportional(self._tree.values[ids % self._items.capacity], size)
        places = systematic(inclusion, count, rng)
        return ids[places], inclusion[places]

    def _reference(self, ids: Ids, batch_size: int) -> Floats:
        share = self._tree.values[ids % self._items.capacity] / self._tree.total
        floor = self._annealed.floor
        return np.asarray(batch_size * ((1.0 - floor) * share + floor / max(1, len(self))))

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "engine": self._engine.state_dict()}

    def _load(self, state: dict[str, Any], slots: Ids) -> None:
        super()._load(state, slots)
        self._engine.load_state_dict(state.get("engine", {}))

    def _planning_metrics(self) -> dict[str, float]:
        return self._engine.metrics()
