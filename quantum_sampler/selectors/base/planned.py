"""Selectors that are too slow for the training loop: batches are planned ahead, and `select` never waits."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.errors import BackendError
from hybrid_opt.job import ThreadJob
from hybrid_opt.notices import notice
from quantum_sampler.selector import Array, Floats, Ids, Probe, Selection, check_batch_size
from quantum_sampler.selectors.base.borrowed import Borrowed
from quantum_sampler.selectors.base.features import Features
from quantum_sampler.selectors.base.planner import Plan, Planner, Plans, View
from quantum_sampler.selectors.prioritized import Prioritized, PrioritizedConfig, TreeSelector

SIZES = 2  # batch sizes that are planned for: a mixture's component is asked for one of two neighbours
LONGEST_PAUSE = 64  # prepares without a new attempt, after many failures


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False))
class PlanningConfig(PrioritizedConfig):
    """How far ahead is planned, and the priorities of the sum tree that stands in where there is no plan."""

    uses_features: ClassVar[bool] = True
    plans: Annotated[int, Field(ge=1)] = 32
    """batches planned at once"""
    max_age: Annotated[int, Field(ge=1)] = 256
    """draws after which a planned batch is too old"""
    inline: bool = False
    """plan within the training loop, which makes it repeatable; false: in a thread"""
    shuffle: bool = False
    """true: the control in which items have each other's features"""


class Planned:
    """Hands out the batches of a planner. Where none fits, the fallback draws, which is counted.

    A plan fits if it is of the batch's size, at most `max_age` selects old, and all its items are still there.
    `prepare` asks for `plans` more of them when half are used up; they are made in a thread, or within `prepare` where
    `inline` is set, which makes the selector repeatable. A planning that fails for a reason of the backend is counted,
    warned of, and tried again after a pause that doubles. Items that came after a plan was made are not in its law.

    The fallback has the items, their scores and features, and all randomness. Shapes: N items selectable now, B items
    in a batch, F features.
    """

    def __init__(self, planner: Planner, fallback: TreeSelector, config: PlanningConfig | None = None) -> None:
        assert fallback.features is not None, "a planner is shown features, so the fallback has to keep them"
        self.planner, self.fallback, self._features = planner, fallback, fallback.features
        self.add, self.remove, self.update = fallback.add, fallback.remove, fallback.update
        self._config = config or PlanningConfig()
        self._learned: Any = None
        self._plans: list[tuple[int, Plan]] = []  # and the selects before each was asked for
        self._sizes: list[int] = []  # of the last batches, latest first
        self._job: ThreadJob[tuple[float, Sequence[Plan]]] | None = None
        self._asked = (0, 0)  # selects before the running job was asked for, the size of its batches
        self._selects, self._fallbacks, self._age, self._failures = 0, 0, 0, 0
        self._prepares, self._pause, self._waited = 0, 0, 0  # in all; to let pass after a failure; passed since
        self._busy, self._born = 0.0, time.monotonic()

    @property
    def sources(self) -> tuple[str, ...]:
        """The plans, and what stands in for them."""
        return ("plans", "fallback")

    def __len__(self) -> int:
        return len(self.fallback)

    def select(self, batch_size: int, context: Array | None = None) -> Selection:
        check_batch_size(batch_size)
        if not batch_size or not len(self):
            return self.fallback.select(batch_size)
        self._selects += 1
        self._sizes = [batch_size, *(size for size in self._sizes if size != batch_size)][:SIZES]
        found = self._fitting(batch_size)
        if found is None:
            self._fallbacks += 1
            return replace(self.fallback.select(batch_size), source=np.ones(batch_size, np.int64))
        made, plan = found
        self._age = self._selects - 1 - made
        weight = (len(self) * plan.inclusion / batch_size) ** -self._config.weight_exponent
        return Selection(*plan, weight, np.zeros(batch_size, np.int64), self._age, law=self._law)

    def prepare(self, step: int) -> None:
        """Take over the plans that are made, and have new ones made."""
        self._prepares += 1
        self.fallback.prepare(step)
        if self._job is not None and self._job.done():
            job, self._job = self._job, None
            self._take(job.result)
        if self._job is not None or not len(self):
            return
        if self._waited < self._pause:
            self._waited += 1
            return
        for size in self._sizes:
            if sum(plan.ids.size == size for _, plan in self._plans) <= self._config.plans // 2:
                self._plan(size)

    def metrics(self) -> dict[str, float]:
        """Beside those of the fallback: plans waiting, the age of the last one used (selects), the share of selects
        that had none, failed plannings, where a thread plans the share of time that it is at work; the planner's."""
        own = {
            "plans": len(self._plans),
            "plan_age": self._age,
            "fallback_rate": self._fallbacks / max(1, self._selects),
            "plan_failures": self._failures,
        }
        if not self._config.inline:
            own["planning_share"] = self._busy / max(1e-9, time.monotonic() - self._born)
        return {**self.fallback.metrics(), **own, **self.planner.metrics(self._learned)}

    def close(self) -> None:
        """Give up the planning under way."""
        if self._job is not None:
            self._job.cancel()
            self._job = None
        self.fallback.close()
        self.planner.close()

    def state_dict(self) -> dict[str, Any]:
        import torch

        plans = [plan for _, plan in self._plans]
        return {
            **self.fallback.state_dict(),
            "made": [made for made, _ in self._plans],
            "lengths": [plan.ids.size for plan in plans],
            "planned": torch.from_numpy(np.concatenate([np.empty(0, np.int64), *(plan.ids for plan in plans)])),
            "inclusion": torch.from_numpy(np.concatenate([np.empty(0), *(plan.inclusion for plan in plans)])),
            "sizes": list(self._sizes),
            "counts": [self._selects, self._fallbacks, self._age, self._failures, self._pause, self._waited],
            "prepares": self._prepares,
            **self.planner.state(self._learned),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError for the state of another capacity."""
        self.fallback.load_state_dict(state)
        self._job = None  # what it makes is of another past
        ends = np.cumsum(state["lengths"])[:-1]
        parts = (np.split(state[key].numpy().copy(), ends) for key in ("planned", "inclusion"))
        self._plans = list(zip(state["made"], map(Plan, *parts), strict=False))  # a split of nothing has one part
        self._sizes = list(state["sizes"])
        self._selects, self._fallbacks, self._age, self._failures, self._pause, self._waited = state["counts"]
        self._prepares = state.get("prepares", 0)  # once a part of the states of boltzmann only
        self._learned = self.planner.restored(state)

    def _plan(self, size: int) -> None:
        rng, count = self.fallback.spawn(), self._config.plans
        ids, stage = self.planner.pools(self.fallback.items, self.fallback.tree.values, size, count, rng)
        if not ids.size or self._job is not None:
            return
        self._asked = (self._selects, size)
        view = self._view(ids, stage)

        def timed(stop: Event) -> tuple[float, Sequence[Plan]]:
            start = time.monotonic()
            plans = self.planner.plan(view._replace(stop=stop), size, count, rng)
            return time.monotonic() - start, plans

        if self._config.inline:
            self._take(lambda: timed(view.stop))
        else:
            self._job = ThreadJob("planning", timed)

    def _view(self, ids: Ids, stage: Floats | float = 1.0) -> View:
        fallback, features = self.fallback, self._features
        slots = ids % fallback.items.capacity
        shown = fallback.tree.values[slots], features.shown(slots), features.seen[slots]
        return View(ids, stage, *shown, len(self), fallback.tree.total, self._prepares, self._learned, Event())

    def _take(self, result: Callable[[], tuple[float, Sequence[Plan]]]) -> None:
        made, size = self._asked
        try:
            seconds, plans = result()
        except BackendError as error:
            self._failures += 1
            self._pause, self._waited = min(LONGEST_PAUSE, 2 * self._pause + 1), 0
            notice(f"{type(self.planner).__name__}: no batches planned: {error}", stacklevel=2)
            return
        self._busy += seconds
        if plans:
            self._pause, self._waited = 0, 0
        if isinstance(plans, Plans):
            self._learned = plans.learned
        for plan in plans:
            assert plan.ids.size == plan.inclusion.size == size
            self._plans.append((made, plan))

    def _fitting(self, batch_size: int) -> tuple[int, Plan] | None:
        """The next plan that fits; those before it that never will are dropped."""
        kept: list[tuple[int, Plan]] = []
        found: tuple[int, Plan] | None = None
        for made, plan in self._plans:
            if self._selects - 1 - made > self._config.max_age:
                continue
            if found is not None or plan.ids.size != batch_size:
                kept.append((made, plan))
            elif self.fallback.items.contains(plan.ids).all():
                found = made, plan
        self._plans = kept
        return found

    def _law(self, ids: Ids, batch_size: int) -> Floats:
        reference = self.planner.reference(self._view(ids), batch_size)
        return np.where(self.fallback.items.contains(ids), reference, 0.0)


def make_planned(
    planner: Planner,
    config: PlanningConfig,
    capacity: int,
    seed: int | Sequence[int],
    feature_dim: int,
    probe: Probe | None = None,
) -> Planned:
    """Return the selector of a planner whose fallback is `prioritized`; see `make_selector`."""
    rng = np.random.default_rng(seed)
    features = Borrowed(capacity, feature_dim, rng) if config.shuffle else Features(capacity, feature_dim)
    return Planned(planner, Prioritized(config, capacity, rng, feature_dim, probe, features), config)
