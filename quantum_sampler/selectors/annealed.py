"""Annealed batches: whole batches sampled from an Ising law that trades priority against redundancy."""

from collections.abc import Sequence
from dataclasses import field
from math import ceil
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from hybrid_opt.effect import refuse_idle
from quantum_sampler.batches import BatchLaw, check_engine, drawn, make_engine, matched, similarity
from quantum_sampler.batches.proportional import proportional, systematic
from quantum_sampler.batches.registry import SOLVERS
from quantum_sampler.codes.kernel import checked_overlap, kernel_similarity
from quantum_sampler.selector import Floats, Ids, ItemSet, OptionError
from quantum_sampler.selectors.base.planned import PlanningConfig
from quantum_sampler.selectors.base.planner import Plan, Planner, View


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
    similarity: str = "cosine"
    """of two items: cosine of their features; or a kernel, fidelity, projected, rbf or laplace, of 4 components of
    them"""
    kernel_options: dict[str, Any] = field(default_factory=dict)
    """of the kernel, such as 'replay.kernel_options={encoding: iqp, bandwidth: 0.5}'"""

    @model_validator(mode="after")
    def _runs_there(self) -> Self:
        check_engine(self.engine, "engine")
        kernels = "similarity=fidelity, projected, rbf, laplace"
        refuse_idle(self, "kernel_options", self.similarity == "cosine", kernels)
        if self.similarity != "cosine":
            checked_overlap(self.similarity, self.kernel_options, "similarity")
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


class Annealed(Planner):
    """Draws pools of N items and from each of them batches of k by `BatchLaw`, ahead of time.

    The inclusion of a plan is that of the pool times that within the pool, and both are exact, whatever the engine
    does: see `drawn`. In the law an item counts with its score over the pool's inclusion of it, so a pool by priority
    leaves nothing but redundancy to decide. Items never visited have no features and repel nothing.
    """

    def __init__(self, config: AnnealedConfig, seed: int | Sequence[int], feature_dim: int) -> None:
        self._config, named = config, config.similarity
        options = config.kernel_options
        self._overlap = None if named == "cosine" else checked_overlap(named, options, "replay.similarity")
        self._engine = make_engine(
            config.engine,
            reads=config.reads,
            sweeps=config.sweeps,
            options=config.options,
            infeasible=config.infeasible,
            backend=config.backend,
        )

    def pools(
        self, items: ItemSet, scores: Floats, batch: int, count: int, rng: np.random.Generator
    ) -> tuple[Ids, Floats]:
        """Ids int64 [P, N], and how likely each was to come into its pool; none where the items fill no batch."""
        config, size = self._config, min(self._config.pool, len(items))
        if len(items) < batch:
            return np.empty(0, np.int64), np.empty(0)
        if size < batch:
            raise OptionError(f"replay.pool={config.pool}: batches of {batch} need a pool of at least as many")
        self._engine.check(size, batch)
        number = ceil(count / config.per_pool)
        if config.pool_by == "uniform":
            indices = np.stack([rng.choice(len(items), size, replace=False) for _ in range(number)])
            return items.at(indices), np.full((number, size), size / len(items))
        ids = items.ids
        inclusion = proportional(scores[ids % items.capacity], size)
        places = systematic(inclusion, number, rng)
        return ids[places], inclusion[places]

    def plan(self, view: View, batch: int, count: int, rng: np.random.Generator) -> list[Plan]:
        config, ids, stage = self._config, view.ids, np.asarray(view.stage)
        utilities = np.log(np.maximum(view.scores / stage, np.finfo(float).tiny))
        laws = []
        for utility, latents, known in zip(utilities, view.features, view.seen, strict=True):
            overlap = self._overlap
            alike = similarity(latents, known) if overlap is None else kernel_similarity(latents, known, overlap)
            shape = (alike, batch, config.redundancy, config.temperature)
            laws.append(BatchLaw(matched(utility, *shape) if config.utility == "inclusion" else utility, *shape))
        made = []
        for place, reads in enumerate(self._engine.draw(laws, config.per_pool, rng, view.stop)):
            batches, inclusion = drawn(laws[place], reads, config.per_pool, config.floor, rng)
            made.append([Plan(ids[place][row], (stage[place] * inclusion)[row]) for row in batches])
        return [plan for turn in zip(*made, strict=True) for plan in turn][:count]  # those of one pool far apart

    def reference(self, view: View, batch: int) -> Floats:
        share, floor = view.scores / view.total, self._config.floor
        return np.asarray(batch * ((1.0 - floor) * share + floor / max(1, view.population)))

    def metrics(self, learned: Any) -> dict[str, float]:
        return self._engine.metrics()

    def state(self, learned: Any) -> dict[str, Any]:
        return {"engine": self._engine.state_dict()}

    def restored(self, state: dict[str, Any]) -> None:
        self._engine.load_state_dict(state.get("engine", {}))

    def close(self) -> None:
        self._engine.close()
