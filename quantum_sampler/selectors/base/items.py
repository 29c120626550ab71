"""What all selectors over one set of items share: checking, counting, and a state that continues exactly."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from quantum_sampler.selector import (
    Array,
    EmptyReplay,
    Floats,
    Ids,
    ItemSet,
    Law,
    Probe,
    Selection,
    check_batch_size,
)
from quantum_sampler.selectors.base.features import Features
from quantum_sampler.selectors.base.random_state import generator_state, load_generator

Seed = int | Sequence[int] | np.random.Generator
"""Of what a selector draws; a generator is shared with whoever gave it."""


class ItemSelector:
    """A selector with its own items and its own randomness.

    A subclass gives `select`; one that keeps something by slot also gives `_added`, `_removed`, `_updated`,
    `_featured`, which see checked arrays, and `_state`, `_load`. features: keeps the latest ones, where they are used.
    """

    def __init__(
        self, capacity: int, seed: Seed, feature_dim: int, probe: Probe | None, features: Features | None = None
    ) -> None:
        self._items = ItemSet(capacity)
        self._rng = np.random.default_rng(seed)
        self._feature_dim = feature_dim
        self._probe = probe
        self.features = features
        self._ignored = 0

    def _added(self, slots: Ids, priorities: Floats | None) -> None:
        """Items have taken these slots."""

    def _removed(self, slots: Ids) -> None:
        """The items of these slots are gone."""

    def _updated(self, slots: Ids, priorities: Floats) -> None:
        """The items of these slots have been visited; slots may repeat, the last one wins."""

    def _featured(self, slots: Ids, features: Array) -> None:
        """Features [n, F] of the items of these slots came; slots may repeat, the last one wins."""
        if self.features is not None:
            self.features.set(slots, features)

    def _state(self) -> dict[str, Any]:
        """What the subclass adds to the state; arrays by item are in the order of `ItemSet.ids`."""
        return {}

    def _load(self, state: dict[str, Any], slots: Ids) -> None:
        """Take back `_state`; slots [N] are those of the items."""

    @property
    def items(self) -> ItemSet:
        return self._items

    @property
    def sources(self) -> tuple[str, ...]:
        return (type(self).__name__.lower(),)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, ids: ArrayLike, priorities: ArrayLike | None = None, features: ArrayLike | None = None) -> None:
        checked = self._checked_ids(ids)
        values = None if priorities is None else self._checked_priorities(priorities, checked)
        vectors = self._checked_features(features, checked)
        kept = self._items.add(checked)
        slots = checked[kept] % self._items.capacity
        self._added(slots, None if values is None else values[kept])
        if self.features is not None:
            self.features.clear(slots)
        if vectors is not None:
            self._featured(slots, vectors[kept])

    def remove(self, ids: ArrayLike) -> None:
        checked = self._checked_ids(ids)
        self._ignored += int(np.count_nonzero(~self._items.contains(checked)))
        self._removed(slots := self._items.remove(checked))
        if self.features is not None:
            self.features.clear(slots)

    def update(self, ids: ArrayLike, priorities: ArrayLike, features: ArrayLike | None = None) -> None:
        checked = self._checked_ids(ids)
        values = self._checked_priorities(priorities, checked)
        vectors = self._checked_features(features, checked)
        live = self._items.contains(checked)
        if not live.all():
            self._ignored += int(np.count_nonzero(~live))
            checked, values = checked[live], values[live]
            vectors = None if vectors is None else vectors[live]
        slots = checked % self._items.capacity
        self._updated(slots, values)
        if vectors is not None:
            self._featured(slots, vectors)

    def prepare(self, step: int) -> None:
        """Nothing to plan."""

    def metrics(self) -> dict[str, float]:
        return {"items": len(self), "ignored": self._ignored}

    def close(self) -> None:
        """Nothing to release."""

    def state_dict(self) -> dict[str, Any]:
        import torch

        slots = self._items.ids % self._items.capacity
        return {
            "capacity": self._items.capacity,
            "ids": torch.from_numpy(self._items.ids),
            "ignored": self._ignored,
            "random": generator_state(self._rng),
            **({} if self.features is None else self.features.state_dict(slots)),
            **self._state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError for the state of another capacity."""
        if state["capacity"] != self._items.capacity:
            raise ValueError(f"the state is of capacity {state['capacity']}, this selector of {self._items.capacity}")
        ids = state["ids"].numpy()
        self._items.restore(ids)
        self._ignored = state["ignored"]
        load_generator(self._rng, state["random"])
        slots = ids % self._items.capacity
        if self.features is not None:
            self.features.load_state_dict(state, slots)
        self._load(state, slots)

    def _selection(
        self, ids: Ids, inclusion: Floats, law: Law, weight: Floats | None = None, plan_age: int = 0
    ) -> Selection:
        """The selection of a selector with one source; without weights it does not correct its bias."""
        weight = np.ones(ids.size) if weight is None else weight
        return Selection(ids, inclusion, weight, np.zeros(ids.size, np.int64), plan_age, law=law)

    def _check_batch(self, batch_size: int) -> None:
        check_batch_size(batch_size)
        if not len(self._items):
            raise EmptyReplay("nothing to select: the replay holds no items yet")

    def _checked_ids(self, ids: ArrayLike) -> Ids:
        array = np.asarray(ids)
        if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
            raise ValueError(f"ids must be integers of shape [n], not {array.dtype} {list(array.shape)}")
        return array.astype(np.int64, copy=False)

    def _checked_priorities(self, priorities: ArrayLike, ids: Ids) -> Floats:
        values = np.asarray(priorities)
        if values.dtype.kind not in "biufO":
            raise ValueError(f"priorities must be numbers, not {values.dtype}")
        values = values.astype(np.float64, copy=False)
        if values.shape != ids.shape:
            raise ValueError(f"priorities must have the shape of ids {list(ids.shape)}, not {list(values.shape)}")
        if values.size and not (values.min() >= 0.0 and values.max() < np.inf):
            raise ValueError("priorities must be finite and >= 0")
        return values

    def _checked_features(self, features: ArrayLike | None, ids: Ids) -> Array | None:
        if features is None:
            return None
        vectors = np.asarray(features)
        if vectors.shape != (ids.size, self._feature_dim):
            expected = [ids.size, self._feature_dim]
            raise ValueError(f"features must have the shape {expected}, not {list(vectors.shape)}")
        if vectors.dtype.kind not in "biuf":
            raise ValueError(f"features must be numbers, not {vectors.dtype}")
        with np.errstate(over="ignore"):
            if not np.isfinite(vectors.astype(np.float32, copy=False)).all():  # they are stored so
                raise ValueError("features must be finite in float32")
        return vectors
