"""Novel replay: items that resemble little of the buffer, by the mean overlap of quantum states."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Any, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from quantum_sampler.codes.kernel import KernelCodes, checked_overlap
from quantum_sampler.selector import Array, Floats, Mask, OptionError
from quantum_sampler.selectors.base.planned import PlanningConfig
from quantum_sampler.selectors.base.planner import Plan, Planner, View

FEWEST = 32  # items with features, below which nothing is told to be novel


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False))
class NovelConfig(PlanningConfig):
    """Items whose latents resemble little of the buffer, by a kernel of quantum states."""

    kernel: str = "fidelity"
    """fidelity, projected, and their twins rbf and laplace, or module:Class"""
    kernel_options: dict[str, Any] = field(default_factory=dict)
    """of the kernel, such as 'replay.kernel_options={encoding: iqp, bandwidth: 0.5}'"""
    inducing: Annotated[int, Field(ge=1)] = 256
    """items that stand for the buffer, drawn uniformly at each planning"""
    novelty: float = 1.0
    """how far novelty decides, in its standard deviations"""
    clip: Annotated[float, Field(gt=0, le=20)] = 3.0
    """standard deviations beyond which it decides no further"""
    tilt: Annotated[float, Field(ge=0)] = 1.0
    """exponent of the priority"""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.1
    """share of draws that are uniform"""
    pool: Annotated[int, Field(ge=FEWEST)] = 4096
    """most items that a planning looks at, drawn uniformly where there are more"""

    @model_validator(mode="after")
    def _has_a_kernel(self) -> Self:
        checked_overlap(self.kernel, self.kernel_options, "kernel")
        return self


class Novel(Planner):
    """Draws items by P(i) ~ exp(novelty z_i) score_i^tilt, z the standardised novelty of their latents.

    The novelty is 1 less the mean overlap with an inducing set of items. z has mean 0 and deviation 1 over the items
    with features, and is clipped; an item that was never visited counts as the most novel. A share `floor` is uniform.
    Inclusions are B P(i), and with more items than `pool`, from a uniform pool, pool / N times that, given the pool.

    Twin: `kernel=rbf`. Cost: P x M overlaps a planning, of P pooled items and M inducing ones. A processor would take a
    circuit for each of them.
    """

    def __init__(self, config: NovelConfig, seed: int | Sequence[int], feature_dim: int) -> None:
        if feature_dim < 1:
            raise OptionError(f"replay.selector=novel: items need features, feature_dim={feature_dim} gives them none")
        self._config, self.most = config, config.pool
        self._overlap = checked_overlap(config.kernel, config.kernel_options, "replay.kernel")

    def plan(self, view: View, batch: int, count: int, rng: np.random.Generator) -> list[Plan]:
        if np.count_nonzero(view.seen) < FEWEST or view.stop.is_set():
            return []
        law = self.law(view.features, view.seen, view.scores, rng)
        edges = np.cumsum(law)
        points = rng.random((count, batch))
        if self._config.stratified:
            points = (points + np.arange(batch)) / batch
        places = np.minimum((edges / edges[-1]).searchsorted(points, side="right"), law.size - 1)
        stage = view.stage * batch
        return [Plan(view.ids[drawn], stage * law[drawn]) for drawn in places]

    def law(self, features: Array, seen: Mask, scores: Floats, rng: np.random.Generator) -> Floats:
        """Return the probabilities [N] of items: features [N, F], of which some were seen [N]; scores [N]."""
        config, known = self._config, features[seen]
        codes = KernelCodes(features.shape[1], 1, self._overlap)
        codes.fit(known)
        rows = codes.encode(known)
        chosen = rng.choice(len(rows), min(config.inducing, len(rows)), replace=False)
        novel = 1.0 - np.asarray(self._overlap(rows[chosen], rows)).mean(0)
        deviation = novel.std()
        z = np.zeros(len(seen))
        if deviation > 1e-9:
            z[seen] = np.clip((novel - novel.mean()) / deviation, -config.clip, config.clip)
        z[~seen] = z[seen].max()
        weights = np.exp(config.novelty * z) * scores**config.tilt
        found: Floats = (1.0 - config.floor) * weights / weights.sum() + config.floor / len(weights)
        return found
