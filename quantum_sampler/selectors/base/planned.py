"""Selectors that are too slow for the training loop: batches are planned ahead, and `select` never waits."""

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.errors import BackendError
from hybrid_opt.job import ThreadJob
from hybrid_opt.notices import notice
from quantum_sampler.selector import Array, Floats, Ids, Probe, Selection
from quantum_sampler.selectors.base.featured import FeaturedConfig, FeaturedSelector

SIZES = 2  # batch sizes that are planned for: a mixture's component is asked for one of two neighbours
LONGEST_PAUSE = 64  # prepares without a new attempt, after many failures


class Plan(NamedTuple):
    """A batch made ahead: ids int64 [B], inclusion float64 [B] under the full law, all its stages multiplied."""

    ids: Ids
    inclusion: Floats


Planning = Callable[[threading.Event], Sequence[Plan]]
"""The slow work. It may end early, with fewer plans, once the event is set: nobody waits for them any more."""


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False))
class PlanningConfig(FeaturedConfig):
    """How far ahead is planned, and the priorities of the sum tree that stands in where there is no plan.

    shuffle: see `PlannedSelector`.
    """

    plans: Annotated[int, Field(ge=1)] = 32
    """batches planned at once"""
    max_age: Annotated[int, Field(ge=1)] = 256
    """draws after which a planned batch is too old"""
    inline: bool = False
    """plan within the training loop, which makes it repeatable; false: in a thread"""
    shuffle: bool = False
    """true: the control in which items have each other's features"""


class _Prepared(NamedTuple):
    made: int  # selects before it was asked for
    ids: Ids
    inclusion: Floats


class PlannedSelector(FeaturedSelector):
    """Hands out plans. Where none fits, the sum tree draws as `prioritized` does, which is counted.

    A plan fits if it is of the batch's size, at most `max_age` selects old, and all its items are still there.
    `prepare` asks for `plans` more of them when half are used up; they are made in a thread, or within `prepare` where
    `inline` is set, which makes the selector repeatable. A planning that fails for a reason of the backend is counted,
    warned of, and tried again after a pause that doubles. Items that came after a plan was made are not in its law.

    With `shuffle` the problem is another one of the same kind: each item is planned with the latest features of another
    in its place. An item whose first features come changes places with a random one (the Fisher-Yates shuffle as items
    arrive), and one that goes leaves the features it was planned with to the item that had its own, so who has whose is
    a uniformly random permutation at any time, and changes for no other reason.

    A subclass says in `_request` how plans are made, of the features that `_shown` gives.
    Shapes: N items selectable now, B items in a batch, F features.
    """

    def __init__(
        self,
        config: PlanningConfig,
        capacity: int,
        seed: int | Sequence[int],
        feature_dim: int,
        probe: Probe | None = None,
    ) -> None:
        super().__init__(config, capacity, seed, feature_dim, probe)
        self._planning = config
        self._lender: Ids = np.arange(capacity)  # by slot: the slot whose features its item is planned with
        self._borrower: Ids = np.arange(capacity)  # by slot: the one whose item is planned with its features
        self._plans: list[_Prepared] = []
        self._sizes: list[int] = []  # of the last batches, latest first
        self._job: ThreadJob[tuple[float, Sequence[Plan]]] | None = None
        self._asked = (0, 0)  # selects before the running job was asked for, the size of its batches
        self._selects, self._fallbacks, self._age, self._failures = 0, 0, 0, 0
        self._pause, self._waited = 0, 0  # prepares to let pass after a failure
        self._busy, self._born = 0.0, time.monotonic()

    @abstractmethod
    def _request(self, batch_size: int, plans: int, rng: np.random.Generator) -> Planning | None:
        """Copy what planning needs, and return the work itself, which must not read what the selector may change.

        rng: of this planning alone. None: nothing can be planned yet.
        """

    @abstractmethod
    def _reference(self, ids: Ids, batch_size: int) -> Floats:
        """About the inclusion of any ids, of which sums are made in a mixture; exact it need not be."""

    def _planning_metrics(self) -> dict[str, float]:
        """What the subclass adds to the metrics."""
        return {}

    @property
    def sources(self) -> tuple[str, ...]:
        """The plans, and the sum tree that stands in for them."""
        return ("plans", "fallback")

    def select(self, batch_size: int, context: Array | None = None) -> Selection:
        self._check_batch(batch_size)
        if not batch_size:
            return super().select(0)
        self._selects += 1
        self._sizes = [batch_size, *(size for size in self._sizes if size != batch_size)][:SIZES]
        plan = self._fitting(batch_size)
        if plan is None:
            self._fallbacks += 1
            drawn = super().select(batch_size)
            return replace(drawn, source=np.ones(batch_size, np.int64))
        self._age = self._selects - 1 - plan.made
        weight = (len(self) * plan.inclusion / batch_size) ** -self._weight_exponent
        return self._selection(plan.ids, plan.inclusion, self._known, weight, self._age)

    def _shown(self, slots: Ids) -> NDArray[np.float32]:
        """The features [n, F] that the items of these slots are planned with: their own, or those of others."""
        return self._features[self._lender[slots]]

    def _added(self, slots: Ids, priorities: Floats | None) -> None:
        self._leave(slots)
        super()._added(slots, priorities)

    def _removed(self, slots: Ids) -> None:
        self._leave(slots)
        super()._removed(slots)

    def _featured(self, slots: Ids, features: Array) -> None:
        if self._planning.shuffle:
            for slot in dict.fromkeys(slots[~self._seen[slots]].tolist()):
                self._seen[slot] = True
                other = self._rng.choice(np.flatnonzero(self._seen))
                self._lender[slot], self._lender[other] = self._lender[other], slot
                self._borrower[self._lender[[slot, other]]] = slot, other
        super()._featured(slots, features)

    def _leave(self, slots: Ids) -> None:
        for slot in slots[self._lender[slots] != slots]:
            lender, borrower = self._lender[slot], self._borrower[slot]
            self._lender[borrower], self._borrower[lender] = lender, borrower
            self._lender[slot] = self._borrower[slot] = slot

    def prepare(self, step: int) -> None:
        """Take over the plans that are made, and have new ones made."""
        super().prepare(step)
        if self._job is not None and self._job.done():
            job, self._job = self._job, None
            self._take(job.result)
        if self._job is not None or not len(self):
            return
        if self._waited < self._pause:
            self._waited += 1
            return
        for size in self._sizes:
            if sum(plan.ids.size == size for plan in self._plans) <= self._planning.plans // 2:
                self._plan(size)

    def metrics(self) -> dict[str, float]:
        """Beside those of `prioritized`: plans waiting, the age of the last one used (selects), the share of selects
        that had none, failed plannings, and, where a thread plans, the share of time that it is at work."""
        own = {
            "plans": len(self._plans),
            "plan_age": self._age,
            "fallback_rate": self._fallbacks / max(1, self._selects),
            "plan_failures": self._failures,
        }
        if not self._planning.inline:
            own["planning_share"] = self._busy / max(1e-9, time.monotonic() - self._born)
        return {**super().metrics(), **own, **self._planning_metrics()}

    def close(self) -> None:
        """Give up the planning under way."""
        if self._job is not None:
            self._job.cancel()
            self._job = None

    def _plan(self, size: int) -> None:
        work = self._request(size, self._planning.plans, np.random.default_rng(self._rng.integers(2**63)))
        if work is None or self._job is not None:
            return
        self._asked = (self._selects, size)

        def timed(stop: threading.Event) -> tuple[float, Sequence[Plan]]:
            start = time.monotonic()
            plans = work(stop)
            return time.monotonic() - start, plans

        if self._planning.inline:
            self._take(lambda: timed(threading.Event()))
        else:
            self._job = ThreadJob("planning", timed)

    def _take(self, result: Callable[[], tuple[float, Sequence[Plan]]]) -> None:
        made, size = self._asked
        try:
            seconds, plans = result()
        except BackendError as error:
            self._failures += 1
            self._pause, self._waited = min(LONGEST_PAUSE, 2 * self._pause + 1), 0
            notice(f"{type(self).__name__}: no batches planned: {error}", stacklevel=2)
            return
        self._pause, self._waited = 0, 0
        self._busy += seconds
        for plan in plans:
            assert plan.ids.size == plan.inclusion.size == size
            self._plans.append(_Prepared(made, plan.ids, plan.inclusion))

    def _fitting(self, batch_size: int) -> _Prepared | None:
        """The next plan that fits; those before it that never will are dropped."""
        kept: list[_Prepared] = []
        found: _Prepared | None = None
        for plan in self._plans:
            if self._selects - 1 - plan.made > self._planning.max_age:
                continue
            if found is not None or plan.ids.size != batch_size:
                kept.append(plan)
            elif self._items.contains(plan.ids).all():
                found = plan
        self._plans = kept
        return found

    def _known(self, ids: Ids, batch_size: int) -> Floats:
        return np.where(self._items.contains(ids), self._reference(ids, batch_size), 0.0)

    def _state(self) -> dict[str, Any]:
        import torch

        plans, slots = self._plans, self._items.ids % self._items.capacity
        shuffled = {"lenders": torch.from_numpy(self._lender[slots])} if self._planning.shuffle else {}
        return {
            **super()._state(),
            **shuffled,
            "made": [plan.made for plan in plans],
            "lengths": [plan.ids.size for plan in plans],
            "planned": torch.from_numpy(np.concatenate([np.empty(0, np.int64), *(plan.ids for plan in plans)])),
            "inclusion": torch.from_numpy(np.concatenate([np.empty(0), *(plan.inclusion for plan in plans)])),
            "sizes": list(self._sizes),
            "counts": [self._selects, self._fallbacks, self._age, self._failures, self._pause, self._waited],
        }

    def _load(self, state: dict[str, Any], slots: Ids) -> None:
        super()._load(state, slots)
        self._lender = np.arange(self._items.capacity)
        if self._planning.shuffle:
            self._lender[slots] = state["lenders"].numpy()
        self._borrower = np.argsort(self._lender)
        self._job = None  # what it makes is of another past
        ends = np.cumsum(state["lengths"])[:-1]
        parts = (np.split(state[key].numpy().copy(), ends) for key in ("planned", "inclusion"))
        self._plans = [_Prepared(*plan) for plan in zip(state["made"], *parts, strict=True)] if state["made"] else []
        self._sizes = list(state["sizes"])
        self._selects, self._fallbacks, self._age, self._failures, self._pause, self._waited = state["counts"]
