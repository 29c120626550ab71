"""Prioritized selectors that keep the latest features of their items."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from quantum_sampler.selector import Array, Floats, Ids, Probe
from quantum_sampler.selectors.prioritized import Prioritized, PrioritizedConfig


@dataclass(config=ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False))
class FeaturedConfig(PrioritizedConfig):
    """The options of `prioritized`; says that features are made use of."""

    uses_features: ClassVar[bool] = True


class FeaturedSelector(Prioritized):
    """Keeps by slot the features that came last, and whether any did.

    A new item has none, whatever was in its slot. Shapes: N items selectable now, F features.
    """

    def __init__(
        self,
        config: FeaturedConfig,
        capacity: int,
        seed: int | Sequence[int],
        feature_dim: int,
        probe: Probe | None = None,
    ) -> None:
        super().__init__(config, capacity, seed, feature_dim, probe)
        self._features = np.zeros((capacity, feature_dim), np.float32)  # by slot
        self._seen: NDArray[np.bool_] = np.zeros(capacity, bool)  # by slot: has features

    def _added(self, slots: Ids, priorities: Floats | None) -> None:
        super()._added(slots, priorities)
        self._seen[slots] = False
        self._features[slots] = 0.0

    def _removed(self, slots: Ids) -> None:
        super()._removed(slots)
        self._seen[slots] = False

    def _featured(self, slots: Ids, features: Array) -> None:
        self._seen[slots] = True
        self._features[slots] = features

    def _state(self) -> dict[str, Any]:
        import torch

        slots = self._items.ids % self._items.capacity
        features, seen = self._features[slots], self._seen[slots]
        return {**super()._state(), "features": torch.from_numpy(features), "seen": torch.from_numpy(seen)}

    def _load(self, state: dict[str, Any], slots: Ids) -> None:
        super()._load(state, slots)
        self._features.fill(0.0)
        self._seen.fill(False)
        self._features[slots] = state["features"].numpy()
        self._seen[slots] = state["seen"].numpy()
