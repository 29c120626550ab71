"""Prioritized experience replay on the loss of the model (Schaul et al., arXiv 1511.05952, proportional variant)."""

from abc import abstractmethod
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from quantum_sampler.amplitude.fresh_loss import FreshLoss, FreshLossConfig
from quantum_sampler.selector import Array, Floats, Ids, Probe, Selection
from quantum_sampler.selectors.base.features import Features
from quantum_sampler.selectors.base.items import ItemSelector, Seed
from quantum_sampler.selectors.base.sum_tree import SumTree


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False))
class PrioritizedConfig(FreshLossConfig):
    """Items by (loss + epsilon)^alpha, with importance weights."""

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.6
    """0 is uniform, 1 proportional to the loss of the model"""
    epsilon: Annotated[float, Field(gt=0)] = 0.01
    """added to the loss, so that no item is out of reach"""
    weight_exponent: Annotated[float, Field(ge=0, le=1)] = 1.0
    """importance weights to this power: 1 corrects the bias fully, 0 not at all"""
    stratified: bool = True
    """one draw from each of B equal parts of the total priority; false: independent draws"""


class TreeSelector(ItemSelector):
    """Draws items in proportion to a score kept in a sum tree, item i with probability score_i / total.

    A subclass says what the score is. Shapes: N items selectable now, B items in a batch.
    """

    def __init__(
        self,
        capacity: int,
        seed: Seed,
        feature_dim: int,
        probe: Probe | None,
        stratified: bool,
        weight_exponent: float,
        fresh: FreshLossConfig,
        features: Features | None = None,
    ) -> None:
        super().__init__(capacity, seed, feature_dim, probe, features)
        self.tree = SumTree(capacity)
        self._fresh = FreshLoss(fresh.fresh_every, fresh.fresh_queries, fresh.fresh_method)
        self._stratified = stratified
        self._weight_exponent = weight_exponent

    @abstractmethod
    def _score(self, slots: Ids, losses: Floats) -> Floats:
        """Scores [n] > 0 of the items of these slots, if their losses are these."""

    def spawn(self) -> np.random.Generator:
        """Return a generator for work whose length must not change what is drawn here."""
        return np.random.default_rng(self._rng.integers(2**63))

    def select(self, batch_size: int, context: Array | None = None) -> Selection:
        self._check_batch(batch_size)
        slots, scores = self.tree.draw(self._rng, batch_size, self._stratified)  # [B]
        total = self.tree.total
        weight = (scores * (len(self._items) / total)) ** -self._weight_exponent if self._weight_exponent else None
        return self._selection(self._items.in_slots(slots), scores * (batch_size / total), self._law, weight)

    def prepare(self, step: int) -> None:
        """Look at fresh losses, where that is wanted and due."""
        if self._probe is None or not len(self) or not self._fresh.due():
            return
        ids = self._items.ids
        slots = ids % self._items.capacity
        stored = self.tree.values[slots]
        self._fresh.observe(self._probe, ids, self.spawn(), stored, lambda i, losses: self._score(slots[i], losses))

    def metrics(self) -> dict[str, float]:
        """priority_mean, priority_max: of the scores; effective_sample_size: their (sum)^2 / sum of squares; and those
        of FreshLoss."""
        scores = self.tree.values
        largest = float(scores.max())
        relative = scores / (largest or 1.0)
        squares = float(np.square(relative).sum())
        return {
            **super().metrics(),
            "priority_mean": self.tree.total / max(1, len(self)),
            "priority_max": largest,
            "effective_sample_size": float(relative.sum()) ** 2 / (squares or 1.0),
            **self._fresh.metrics(),
        }

    def _removed(self, slots: Ids) -> None:
        self.tree.set(slots, 0.0)

    def _state(self) -> dict[str, Any]:
        import torch

        scores = self.tree.values[self._items.ids % self._items.capacity]
        return {"scores": torch.from_numpy(scores), "fresh": self._fresh.state_dict()}

    def _load(self, state: dict[str, Any], slots: Ids) -> None:
        self.tree = SumTree(self._items.capacity)
        self.tree.set(slots, state["scores"].numpy())
        self._fresh.load_state_dict(state["fresh"])

    def _law(self, ids: Ids, batch_size: int) -> Floats:
        scores = self.tree.values.take(ids % self._items.capacity)
        return np.where(self._items.contains(ids), scores * (batch_size / self.tree.total), 0.0)


class Prioritized(TreeSelector):
    """Draws items by (loss + epsilon)^alpha, with importance weights (1 / (N p))^weight_exponent.

    An item that was never visited counts with the largest loss that was seen when it came, so it gets its turn. With
    weight_exponent 1 the expected gradient is that of uniform replay; weights are not divided by their maximum.
    """

    def __init__(
        self,
        config: PrioritizedConfig,
        capacity: int,
        seed: Seed,
        feature_dim: int,
        probe: Probe | None = None,
        features: Features | None = None,
    ) -> None:
        law = config.stratified, config.weight_exponent, config
        super().__init__(capacity, seed, feature_dim, probe, *law, features)
        self._config = config
        self._largest: float | None = None  # loss seen so far

    def _score(self, slots: Ids, losses: Floats) -> Floats:
        return (losses + self._config.epsilon) ** self._config.alpha

    def _added(self, slots: Ids, priorities: Floats | None) -> None:
        if priorities is not None:
            self._updated(slots, priorities)
        else:
            unvisited = np.full(slots.size, 1.0 if self._largest is None else self._largest)
            self.tree.set(slots, self._score(slots, unvisited))

    def _updated(self, slots: Ids, priorities: Floats) -> None:
        if not slots.size:
            return
        largest = float(priorities.max())
        if self._largest is None:  # the items that came before the first loss are as unvisited as those after it
            everywhere = self._items.ids % self._items.capacity
            self.tree.set(everywhere, self._score(everywhere, np.full(len(self), largest)))
        self._largest = max(largest, self._largest or 0.0)
        self.tree.set(slots, self._score(slots, priorities))

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "largest": self._largest}

    def _load(self, state: dict[str, Any], slots: Ids) -> None:
        super()._load(state, slots)
        self._largest = state["largest"]
