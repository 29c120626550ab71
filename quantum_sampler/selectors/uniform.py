"""Uniform replay: every selectable item is equally likely."""

from collections.abc import Sequence

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from quantum_sampler.selector import Array, Floats, Ids, Probe, Selection
from quantum_sampler.selectors.base.items import ItemSelector


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class UniformConfig:
    """Every item is equally likely."""


class Uniform(ItemSelector):
    """Draws items with replacement, each with probability 1/N.

    The control for every other selector: it ignores priorities and features. Shapes: N items selectable now, B items in
    a batch.
    """

    def __init__(
        self,
        config: UniformConfig,
        capacity: int,
        seed: int | Sequence[int],
        feature_dim: int,
        probe: Probe | None = None,
    ) -> None:
        super().__init__(capacity, seed, feature_dim, probe)

    def select(self, batch_size: int, context: Array | None = None) -> Selection:
        self._check_batch(batch_size)
        size = len(self._items)
        ids = self._items.at(self._rng.integers(size, size=batch_size))  # [B]
        return self._selection(ids, np.full(batch_size, batch_size / size), self._law)

    def metrics(self) -> dict[str, float]:
        return {**super().metrics(), "effective_sample_size": len(self)}

    def _law(self, ids: Ids, batch_size: int) -> Floats:
        return np.where(self._items.contains(ids), batch_size / max(1, len(self._items)), 0.0)
