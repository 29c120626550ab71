"""Fresh replay: new items are handed out once, oldest first, so that no data waits for luck."""

from collections.abc import Sequence
from typing import Annotated, Any, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from quantum_sampler.selector import Array, Floats, Ids, Probe, Selection
from quantum_sampler.selectors.base.items import ItemSelector


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class FreshConfig:
    """Of every `span` consecutive ids the first `width` are handed out: all, or one of several that overlap."""

    span: Annotated[int, Field(ge=1)] = 1
    """consecutive ids that overlap"""
    width: Annotated[int, Field(ge=1)] = 1
    """the first of them that are handed out"""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width > self.span:
            raise ValueError(f"width={self.width}: from 1 to span={self.span} is accepted")
        return self


class Fresh(ItemSelector):
    """Hands out the items that it never handed out, in the order they came; uniform draws fill the batch.

    Meant as a component of a mixture. With q items waiting, the first min(q, B) of them are certain, and if q < B every
    item is expected (B - q) / N times more. All weights are 1: while items wait, the batch is not meant to be unbiased.
    Shapes: N items selectable now, B items in a batch.
    """

    def __init__(
        self,
        config: FreshConfig,
        capacity: int,
        seed: int | Sequence[int],
        feature_dim: int,
        probe: Probe | None = None,
    ) -> None:
        super().__init__(capacity, seed, feature_dim, probe)
        self._span, self._width = config.span, config.width
        self._queue: Ids = np.empty(0, np.int64)  # in the order they came; may hold ids that are gone by now
        self._head = 0  # what stands before it was handed out
        self._tail = 0

    def _added(self, slots: Ids, priorities: Floats | None) -> None:
        arrived = self._items.in_slots(slots)
        arrived = arrived[arrived % self._span < self._width]
        if self._tail + arrived.size > self._queue.size:
            waiting = self._waiting()
            self._queue = np.empty(2 * (waiting.size + arrived.size), np.int64)
            self._queue[: waiting.size] = waiting
            self._head, self._tail = 0, waiting.size
        self._queue[self._tail : self._tail + arrived.size] = arrived
        self._tail += arrived.size

    def select(self, batch_size: int, context: Array | None = None) -> Selection:
        self._check_batch(batch_size)
        queue, start = self._queue, self._head
        first, self._head = self._first(queue, start, batch_size)
        fill = self._items.at(self._rng.integers(len(self._items), size=batch_size - first.size))
        ids = np.concatenate([first, fill])  # [B]

        def law(ids: Ids, batch_size: int) -> Floats:
            return self._inclusion(ids, self._first(queue, start, batch_size)[0], batch_size)

        return self._selection(ids, self._inclusion(ids, first, batch_size), law)

    def metrics(self) -> dict[str, float]:
        return {**super().metrics(), "waiting": self._waiting().size}

    def _waiting(self) -> Ids:
        ids = self._queue[self._head : self._tail]
        return ids[self._items.contains(ids)]

    def _inclusion(self, ids: Ids, first: Ids, batch_size: int) -> Floats:
        uniform = (batch_size - first.size) / max(1, len(self._items))
        expected = np.isin(ids, first) + uniform if first.size else uniform
        return np.where(self._items.contains(ids), expected, 0.0)

    def _first(self, queue: Ids, start: int, count: int) -> tuple[Ids, int]:
        """The first ids in the queue that are still selectable, at most `count`, and where the queue goes on."""
        window = count
        while True:
            places = start + np.flatnonzero(self._items.contains(queue[start : min(start + window, self._tail)]))
            if places.size >= count or start + window >= self._tail:
                break
            window *= 2
        places = places[:count]
        done = self._tail if places.size < count else start if not count else int(places[-1]) + 1
        return queue[places], done

    def _state(self) -> dict[str, Any]:
        import torch

        return {"waiting": torch.from_numpy(self._waiting())}

    def _load(self, state: dict[str, Any], slots: Ids) -> None:
        self._queue = state["waiting"].numpy().copy()
        self._head, self._tail = 0, self._queue.size
