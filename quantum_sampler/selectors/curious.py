"""Curious Replay: what was visited rarely or is predicted badly is replayed (Kauvar et al., arXiv 2306.15934)."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from quantum_sampler.amplitude.fresh_loss import FreshLossConfig
from quantum_sampler.selector import Floats, Ids, Probe
from quantum_sampler.selectors.prioritized import TreeSelector


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False))
class CuriousConfig(FreshLossConfig):
    """Items by c beta^visits + (loss + epsilon)^alpha (Curious Replay, arXiv 2306.15934); the paper's defaults."""

    c: Annotated[float, Field(ge=0)] = 1e4
    """priority of novelty, before the first visit"""
    beta: Annotated[float, Field(ge=0, le=1)] = 0.7
    """what is left of it after each visit"""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.7
    """exponent of the loss of the model"""
    epsilon: Annotated[float, Field(gt=0)] = 0.01
    """added to the loss, so that no item is out of reach"""
    initial: Annotated[float, Field(gt=0)] = 1e5
    """priority of an item that was never visited"""
    stratified: bool = True
    """one draw from each of B equal parts of the total priority; false: independent draws"""


class Curious(TreeSelector):
    """Draws items by c beta^visits + (loss + epsilon)^alpha; those never visited by `initial`.

    A visit is an `update`. The bias towards the new is wanted, so all weights are 1.
    """

    def __init__(
        self,
        config: CuriousConfig,
        capacity: int,
        seed: int | Sequence[int],
        feature_dim: int,
        probe: Probe | None = None,
    ) -> None:
        super().__init__(capacity, seed, feature_dim, probe, config.stratified, 0.0, config)
        self._config = config
        self._visits = np.zeros(capacity, np.int32)  # by slot

    def metrics(self) -> dict[str, float]:
        visits = self._visits[self._items.ids % self._items.capacity]
        return {**super().metrics(), "visits_mean": float(visits.mean()) if visits.size else 0.0}

    def _score(self, slots: Ids, losses: Floats) -> Floats:
        config = self._config
        novelty: NDArray[np.float64] = config.c * np.power(config.beta, self._visits.take(slots))
        return novelty + (losses + config.epsilon) ** config.alpha

    def _added(self, slots: Ids, priorities: Floats | None) -> None:
        self._visits[slots] = 0
        self.tree.set(slots, self._config.initial if priorities is None else self._score(slots, priorities))

    def _updated(self, slots: Ids, priorities: Floats) -> None:
        self._visits[slots] = self._visits.take(slots) + 1  # an item that repeats in the batch counts once
        self.tree.set(slots, self._score(slots, priorities))

    def _state(self) -> dict[str, Any]:
        import torch

        return {**super()._state(), "visits": torch.from_numpy(self._visits[self._items.ids % self._items.capacity])}

    def _load(self, state: dict[str, Any], slots: Ids) -> None:
        super()._load(state, slots)
        self._visits.fill(0)
        self._visits[slots] = state["visits"].numpy()
