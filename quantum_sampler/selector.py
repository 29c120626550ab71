"""The contract between a replay and whoever decides which of its items are replayed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Ids = NDArray[np.int64]
Index = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Law = Callable[[Ids, int], Floats]
"""Expected number of times each of the given ids enters a batch of the given size."""
Probe = Callable[[Ids], Floats]
"""Fresh loss [B] of items, by running the model on them."""


LAST_ID = 2**63 - 2  # -2 - id, the mark of a removed one, is the least int64


class EmptyReplay(LookupError):
    """A batch was asked for while nothing is selectable."""


class OptionError(ValueError):
    """A selector or one of its options was named or set wrongly; the message is one line for the user."""

    exit_code = 2


@dataclass(slots=True)
class Selection:
    """A batch of B items and what is needed to learn from it without bias.

    ids int64 [B]. inclusion float64 [B]: how often each id was expected in this batch, so that sum(g / inclusion) has
    the sum of g over the buffer as its mean. weight float64 [B]: B / (items x inclusion) where the selector corrects
    its bias, else 1; with the correction sum(weight g) / B has the mean of g over the buffer as its mean. source int64
    [B]: index into the selector's `sources` of the component that drew the item. plan_age: selects since the plan was
    made, 0 for selectors that do not plan. law: the inclusion of any ids under the law of this very draw, for batches
    of any size; of ids that a plan left out it is an estimate. It holds until items or priorities change.
    """

    ids: Ids
    inclusion: Floats
    weight: Floats
    source: Ids
    plan_age: int = 0
    law: Law = field(kw_only=True, repr=False, compare=False)


class Selector(Protocol):
    """Chooses items by id; knows nothing of what they hold. Made by `make_selector`."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the components that `Selection.source` points to."""
        ...

    def __len__(self) -> int:
        """Number of selectable items."""
        ...

    def add(self, ids: ArrayLike, priorities: ArrayLike | None = None, features: ArrayLike | None = None) -> None:
        """Make items selectable.

        ids int64 [n], growing and never reused; each takes the slot id % capacity from the item that had it.
        priorities [n]: raw losses, finite, >= 0; without them an item counts as never visited. features [n,
        feature_dim]. Raises ValueError for other values; nothing is added then.
        """
        ...

    def remove(self, ids: ArrayLike) -> None:
        """Make items unselectable; ids that are not selectable are ignored and counted."""
        ...

    def select(self, batch_size: int, context: Array | None = None) -> Selection:
        """Draw a batch, with repeats where there are fewer items than `batch_size` (an integer >= 0).

        context: what the agent is in now (its latent), for selectors that recall. Raises EmptyReplay.
        """
        ...

    def update(self, ids: ArrayLike, priorities: ArrayLike, features: ArrayLike | None = None) -> None:
        """Write back raw losses [n], finite and >= 0, and features [n, feature_dim].

        Ids that are not selectable are ignored and counted; the last duplicate wins. Raises ValueError for other
        values; nothing is written then.
        """
        ...

    def prepare(self, step: int) -> None:
        """Do what is slow, outside `select`; called by the trainer once a training step."""
        ...

    def metrics(self) -> dict[str, float]:
        """Figures to log, without prefix: `items`, `ignored`, `effective_sample_size`, `priority_mean`, ..."""
        ...

    def close(self) -> None:
        """Release threads and connections."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that future draws depend on; leaves are torch tensors or Python scalars."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state: the draws are the ones that would have followed it."""
        ...


def is_integer(number: Any) -> bool:
    """Whether it is one of Python's or NumPy's; True and False are none."""
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def check_batch_size(batch_size: Any) -> None:
    """Raise ValueError for a size of a batch that is no integer >= 0."""
    if not is_integer(batch_size) or batch_size < 0:
        raise ValueError(f"batch_size must be an integer >= 0, not {batch_size}")


class ItemSet:
    """The selectable ids: adding, removing and looking up are vectorised and cost O(1) an id.

    An id lives in the slot id % capacity until it is removed or a greater id takes the slot. The slot keeps the last id
    that it had, so what arrives late for an overwritten item is recognised. 16 bytes an item.
    """

    def __init__(self, capacity: int) -> None:
        index = np.int32 if capacity < 2**31 else np.int64
        self.capacity = capacity
        self._size = 0
        self._last = np.full(capacity, -1, np.int64)  # by slot: id >= 0 if selectable, -2 - id if removed, -1 if unused
        self._slots: Index = np.zeros(capacity, index)  # by index: the slots in use are the first len(self)
        self._index: Index = np.zeros(capacity, index)  # by slot: where it stands in _slots

    def __len__(self) -> int:
        return self._size

    @property
    def ids(self) -> Ids:
        """All selectable ids, int64 [N], in the order of their index."""
        return self._last.take(self._slots[: self._size])

    def at(self, indices: Index) -> Ids:
        """The ids with the given indices in [0, N)."""
        return self._last.take(self._slots.take(indices))

    def in_slots(self, slots: Index) -> Ids:
        """The ids that live in the given slots."""
        return self._last.take(slots)

    def contains(self, ids: Ids) -> Mask:
        """Which of the ids are selectable."""
        live: Mask = self._last.take(ids % self.capacity) == ids
        return live & (ids >= 0)

    def add(self, ids: Ids) -> Mask:
        """Add growing ids; returns which of them are in the set after it (a later one may have taken the slot)."""
        if ids.size and ids.max() > LAST_ID:
            raise ValueError(f"ids must be <= {LAST_ID}")
        slots = ids % self.capacity
        last = self._last.take(slots)
        order = np.argsort(ids, kind="stable")
        growing = ids[order]
        if (ids <= np.maximum(last, -2 - last)).any() or (growing[1:] == growing[:-1]).any():
            raise ValueError("ids must be >= 0, growing and never reused")
        self._last[slots[order]] = growing
        kept: Mask = self._last.take(slots) == ids
        entering = slots[kept & (last < 0)]
        indices = np.arange(self._size, self._size + entering.size)
        self._slots[indices] = entering
        self._index[entering] = indices
        self._size += entering.size
        return kept

    def remove(self, ids: Ids) -> Ids:
        """Remove ids; returns the slots that they lived in. Ids that are not in the set, and repeats, are skipped."""
        slots = np.unique(ids[self.contains(ids)] % self.capacity)
        holes = self._index[slots]
        size = self._size - slots.size
        staying = np.ones(slots.size, bool)  # of the indices from `size` on, those not removed fill the holes below
        staying[holes[holes >= size] - size] = False
        holes = holes[holes < size]
        movers = self._slots[size : self._size][staying]
        self._slots[holes] = movers
        self._index[movers] = holes
        self._last[slots] = -2 - self._last[slots]
        self._size = size
        return slots

    def restore(self, ids: Ids) -> None:
        """Become the set whose `ids` these were."""
        self._size = 0
        self._last.fill(-1)
        self.add(ids)
