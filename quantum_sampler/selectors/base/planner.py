"""The contract of planners: they make batches ahead of time, from a snapshot of the items."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from threading import Event
from typing import Any, NamedTuple

import numpy as np

from quantum_sampler.selector import Array, Floats, Ids, ItemSet, Mask


class Plan(NamedTuple):
    """A batch made ahead: ids int64 [B], inclusion float64 [B] under the full law, all its stages multiplied."""

    ids: Ids
    inclusion: Floats


class Plans(list[Plan]):
    """Plans, and what the planner learned in making them, which the next `View` shows it."""

    def __init__(self, plans: Iterable[Plan], learned: Any) -> None:
        super().__init__(plans)
        self.learned = learned


class View(NamedTuple):
    """The items as they are when plans are asked for; nothing in it changes. Shapes: N items, in pools [..., N]."""

    ids: Ids  # [..., N]
    stage: Floats | float  # how likely each was to be in the view
    scores: Floats  # [..., N], > 0, by which the fallback draws
    features: Array  # [..., N, F], the latest ones
    seen: Mask  # [..., N]: has features
    population: int  # selectable items
    total: float  # sum of the scores of all of them
    prepares: int  # calls of `prepare` so far
    learned: Any  # what the planner learned last, None before that
    stop: Event  # once it is set nobody waits for the plans any more


class Planner(ABC):
    """Makes batches ahead of time. One of your own needs `plan` alone.

    A part's class takes `(config, seed, feature_dim)`, its config extends `PlanningConfig`. All but `plan` runs in the
    thread of the trainer.
    """

    most = 16384  # items that a planning looks at, drawn uniformly where there are more

    @abstractmethod
    def plan(self, view: View, batch: int, count: int, rng: np.random.Generator) -> list[Plan]:
        """Return `count` plans of `batch` items, fewer once `view.stop` is set, none while nothing can be planned.

        It may run in a thread, so it reads nothing that changes. What it learns it returns, see `Plans`. rng: of this
        planning alone. A BackendError is counted, and the planning tried again later.
        """

    def pools(
        self, items: ItemSet, scores: Floats, batch: int, count: int, rng: np.random.Generator
    ) -> tuple[Ids, Floats | float]:
        """Return the ids [..., N] to look at, and how likely each was to be among them; no ids: nothing to plan yet.

        scores: by slot. rng: the one that `plan` gets next.
        """
        size = len(items)
        if size <= self.most:
            return items.ids, 1.0
        return items.at(rng.choice(size, self.most, replace=False, shuffle=False)), self.most / size

    def reference(self, view: View, batch: int) -> Floats:
        """Return about the inclusion of the ids of a view, of which mixtures make sums; exact it need not be."""
        return view.scores * (batch / view.total)

    def metrics(self, learned: Any) -> dict[str, float]:
        """Return figures to log."""
        return {}

    def state(self, learned: Any) -> dict[str, Any]:
        """Return what plans to come depend on. Leaves are tensors or Python scalars."""
        return {}

    def restored(self, state: dict[str, Any]) -> Any:
        """Continue from the state of a selector, which holds `state`; return what had been learned."""
        return None

    def close(self) -> None:  # noqa: B027 - nothing to do
        """Release what has been opened."""
