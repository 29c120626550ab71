"""Planning ahead: what is handed out, what stands in for it, and what is counted, with plans of a known law."""

import threading
import time
import warnings
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike

from hybrid_opt.errors import TransientError
from quantum_sampler import make_selector
from quantum_sampler.selector import Floats
from quantum_sampler.selectors.base.planned import PlanningConfig, make_planned
from quantum_sampler.selectors.base.planner import Plan, Planner, Plans, View
from quantum_sampler.selectors.mixture import Mixture
from quantum_sampler.selectors.uniform import Uniform, UniformConfig

ITEMS, BATCH = 30, 6


class Halves(Planner):
    """Plans distinct items, all of them even or all of them odd: of every other batch the inclusion is 0."""

    gate: threading.Event | None = None
    failing = 0
    asked = 0

    def pools(self, *given: Any) -> Any:
        self.asked += 1
        return super().pools(*given)

    def plan(self, view: View, batch: int, count: int, rng: np.random.Generator) -> list[Plan]:
        failing, self.failing = self.failing, max(0, self.failing - 1)
        if self.gate is not None:
            self.gate.wait(60)
        if failing:
            raise TransientError("the queue is full")
        made = []
        for _ in range(count):
            pool = view.ids[view.ids % 2 == rng.integers(2)]
            made.append(Plan(rng.choice(pool, batch, False), np.full(batch, batch / pool.size / 2)))
        return made

    def reference(self, view: View, batch: int) -> Floats:
        return np.asarray(batch * (1.0 + view.ids % 3) / (2.0 * view.population))  # far from the truth


def empty(planner: Planner | None = None, capacity: int = 64, seed: int = 0, width: int = 2, **options: Any) -> Any:
    config = PlanningConfig(**{"inline": True, **options})
    return make_planned(planner or Halves(), config, capacity, seed, width)


def make(planner: Planner | None = None, **options: Any) -> Any:
    selector = empty(planner, **options)
    selector.add(np.arange(ITEMS))
    return selector


def is_planned(batch: Any) -> bool:
    return not batch.source.any()


def test_the_first_batch_has_no_plan_and_the_next_ones_do() -> None:
    selector = make(plans=4)
    assert not is_planned(selector.select(BATCH))
    for step in range(20):
        selector.prepare(step)
        batch = selector.select(BATCH)
        assert is_planned(batch)
        assert len(set(batch.ids % 2)) == 1
        np.testing.assert_allclose(batch.inclusion, BATCH / ITEMS)
        np.testing.assert_allclose(batch.weight, 1.0)
    assert selector.metrics()["fallback_rate"] == pytest.approx(1 / 21)
    assert selector.planner.asked == 6  # the second time when 2 of 4 are left, then every 4 batches


def test_plans_that_are_too_old_are_not_used() -> None:
    selector = make(plans=8, max_age=3)
    selector.select(BATCH)
    selector.prepare(0)
    batches = [selector.select(BATCH) for _ in range(6)]
    assert [is_planned(batch) for batch in batches] == [True] * 4 + [False] * 2
    assert [batch.plan_age for batch in batches] == [0, 1, 2, 3, 0, 0]


def test_plans_with_items_that_are_gone_are_not_used() -> None:
    selector = make(plans=50)
    selector.select(BATCH)
    selector.prepare(0)
    selector.remove(np.arange(1, ITEMS, 2))
    batches = [selector.select(BATCH) for _ in range(50)]
    planned = sum(map(is_planned, batches))
    assert 10 < planned < 40  # those of even items
    assert all((batch.ids % 2 == 0).all() for batch in batches)


def test_two_batch_sizes_are_planned_for() -> None:
    selector = make()
    for size in (3, 4):
        selector.select(size)
    for step in range(2):
        selector.prepare(step)
    for size in (3, 4, 4, 3):
        batch = selector.select(size)
        assert is_planned(batch)
        assert batch.ids.size == size


def test_it_never_waits_for_a_thread() -> None:
    selector = make(inline=False, plans=4)
    selector.planner.gate = threading.Event()
    selector.select(BATCH)
    for step in range(5):
        selector.prepare(step)
        assert not is_planned(selector.select(BATCH))
    assert selector.planner.asked == 1
    selector.planner.gate.set()
    while not selector.metrics()["plans"]:
        selector.prepare(9)
    batch = selector.select(BATCH)
    assert is_planned(batch)
    assert batch.plan_age == 5
    assert 0.0 < selector.metrics()["planning_share"] <= 1.0
    selector.close()


def test_close_does_not_wait() -> None:
    selector = make(inline=False)
    selector.planner.gate = threading.Event()
    selector.select(BATCH)
    selector.prepare(0)
    start = time.monotonic()
    selector.close()
    assert time.monotonic() - start < 10.0  # the planning would take a minute
    selector.planner.gate.set()


def test_a_failing_backend_is_counted_and_asked_again_after_pauses() -> None:
    selector = make()
    selector.planner.failing = 3
    selector.select(BATCH)
    tries = []
    for step in range(14):
        before = selector.planner.asked
        if step in (0, 2, 6):
            with pytest.warns(RuntimeWarning, match="the queue is full"):
                warnings.simplefilter("error")  # as the code of a user may
                selector.prepare(step)
        else:
            selector.prepare(step)
        if selector.planner.asked > before:
            tries.append(step)
    assert tries == [0, 2, 6, 14][:3]
    assert selector.metrics()["plan_failures"] == 3
    selector.prepare(14)
    assert is_planned(selector.select(BATCH))


def test_a_fault_of_the_code_is_raised() -> None:
    class Wrong(Planner):
        def plan(self, view: View, batch: int, count: int, rng: np.random.Generator) -> list[Plan]:
            raise ZeroDivisionError

    selector = make(Wrong())
    selector.select(BATCH)
    with pytest.raises(ZeroDivisionError):
        selector.prepare(0)


class Counting(Planner):
    """A planner of the user's with a method of its own, `plan`: it draws uniformly and counts its plannings."""

    def __init__(self, config: PlanningConfig, seed: Any, feature_dim: int) -> None:
        self.most = 12

    def plan(self, view: View, batch: int, count: int, rng: np.random.Generator) -> list[Plan]:
        inclusion = np.full(batch, view.stage * batch / view.ids.size)
        made = (Plan(rng.choice(view.ids, batch, False), inclusion) for _ in range(count))
        return Plans(made, 1 + (view.learned or 0))


@pytest.mark.parametrize("inline", [True, False])
def test_a_planner_of_the_users_needs_plan_alone(inline: bool) -> None:
    """It is found by name and shown 12 of the 30 items, and what it learned comes back to it."""
    selector: Any = make_selector(f"{__name__}:Counting", 64, 0, 2, plans=4, inline=inline)
    selector.add(np.arange(ITEMS))
    selector.select(BATCH)
    for learned in range(1, 6):
        end = time.monotonic() + 60.0
        while selector._learned != learned:
            selector.prepare(0)
            assert time.monotonic() < end
        while selector.metrics()["plans"] > 2:  # the next planning is asked for at half of 4
            batch = selector.select(BATCH)
            assert is_planned(batch)
            np.testing.assert_allclose(batch.inclusion, BATCH / ITEMS)
        assert batch.law(np.arange(ITEMS), BATCH).sum() == pytest.approx(BATCH)
    selector.close()


def test_a_view_is_a_snapshot() -> None:
    selector = make()
    selector.update([1], [1.0], [[1.0, 2.0]])
    view = selector._view(np.arange(4))
    before = [np.copy(part) for part in view[:5]]
    selector.update([1, 2], [9.0, 9.0], np.ones((2, 2)))
    selector.remove([0, 3])
    for part, was in zip(view, before, strict=False):
        np.testing.assert_array_equal(part, was)
    assert view.population == ITEMS and view.seen.tolist() == [False, True, False, False]


def test_state_holds_plans_and_features() -> None:
    selector = make()
    selector.update([1, 2], [1.0, 2.0], [[1.0, 2.0], [3.0, 4.0]])
    selector.select(BATCH)
    selector.prepare(0)
    selector.select(BATCH)
    other = empty(seed=5)
    other.load_state_dict(selector.state_dict())
    for step in range(40):
        selector.prepare(step)
        other.prepare(step)
        ours, theirs = selector.select(BATCH), other.select(BATCH)
        assert ours.ids.tolist() == theirs.ids.tolist()
        assert ours.plan_age == theirs.plan_age
    assert all(torch.equal(selector.state_dict()[key], other.state_dict()[key]) for key in ("features", "seen"))


def test_a_new_item_loses_the_features_of_the_one_before_it() -> None:
    selector = empty(capacity=4)
    selector.add(np.arange(4), features=np.ones((4, 2)))
    selector.add([4])
    state = selector.state_dict()
    assert dict(zip(state["ids"].tolist(), state["seen"].tolist(), strict=True)) == {
        4: False,
        1: True,
        2: True,
        3: True,
    }
    assert state["features"].sum() == 6.0


@pytest.mark.parametrize("correction", ["inclusion", "component"])
def test_a_mixture_is_unbiased_whatever_the_reference_says(correction: Any) -> None:
    """Sums and means over the buffer, within 5 standard errors of 4,000 batches."""
    selector = make(plans=64)
    uniform = Uniform(UniformConfig(), 64, 1, 2)
    uniform.add(np.arange(ITEMS))
    mixture = Mixture({"halves": (0.6, selector), "uniform": (0.4, uniform)}, 2, correction)
    mixture.select(10)
    g = np.cos(np.arange(ITEMS)) + np.linspace(0, 2, ITEMS)
    sums, means, planned = [], [], 0
    for step in range(4000):
        mixture.prepare(step)
        batch = mixture.select(10)
        sums.append((g[batch.ids] / batch.inclusion).sum())
        means.append((g[batch.ids] * batch.weight).mean())
        planned += 0 in batch.source
    assert planned == 4000
    assert abs(np.mean(sums) - g.sum()) < 5 * np.std(sums) / 4000**0.5
    assert abs(np.mean(means) - g.mean()) < 5 * np.std(means) / 4000**0.5


def shuffled(capacity: int, seed: int) -> Any:
    return empty(capacity=capacity, seed=seed, width=1, shuffle=True)


def shown(selector: Any, ids: ArrayLike) -> list[float]:
    features: list[float] = selector._view(np.asarray(ids, np.int64)).features[:, 0].tolist()
    return features


def visit(selector: Any, ids: list[int], values: list[float]) -> None:
    selector.update(ids, np.ones(len(ids)), np.array(values)[:, None])


@pytest.mark.slow
def test_shuffled_features_are_a_uniform_permutation() -> None:
    """Four items are left of six that come in three parts, of which one is replaced and two are visited again: each of
    the 24 assignments equally often, chi-square on 23 degrees, to 5 sigma."""
    counts = dict.fromkeys(permutations((1.0, 2.0, 3.0, 5.0)), 0)
    for seed in range(2400):
        selector = shuffled(5, seed)
        selector.add(np.arange(5))
        visit(selector, [0, 1], [0, 9])
        visit(selector, [2, 1, 3, 4], [2, 1, 9, 4])
        selector.add([5])  # in the slot of 0
        visit(selector, [5, 3], [5, 3])
        selector.remove([4])
        counts[tuple(shown(selector, [1, 2, 3, 5]))] += 1
    chi = sum((count - 100) ** 2 / 100 for count in counts.values())
    assert abs(chi - 23) < 5 * np.sqrt(46)


def test_shuffled_features_stay_a_permutation_of_the_latest() -> None:
    """Whatever comes, is visited and goes; visits alone change nothing in who has whose, nor does continuing."""
    rng, latest, newest = np.random.default_rng(0), dict[int, float](), 0
    selector = shuffled(16, 1)
    for step in range(300):
        if step % 3 == 0:
            selector.add([newest])
            latest.pop(newest - 16, None)
            newest += 1
        if step % 7 == 0:
            gone = int(rng.choice(selector.fallback.items.ids))
            selector.remove([gone])
            latest.pop(gone, None)
        ids = rng.choice(selector.fallback.items.ids, 4).tolist() if len(selector) else []
        latest |= (values := dict(zip(ids, rng.random(len(ids)), strict=True)))
        visit(selector, list(values), list(values.values()))
        seen = sorted(latest)
        np.testing.assert_allclose(np.sort(shown(selector, seen)), np.sort([latest[item] for item in seen]), rtol=1e-6)
    visit(selector, seen, [float(item) for item in seen])
    lent = shown(selector, seen)
    assert lent != seen and sorted(lent) == seen
    other = shuffled(16, 2)
    other.load_state_dict(selector.state_dict())
    for one in (selector, other):
        visit(one, seen, [item + 0.5 for item in seen])
        assert shown(one, seen) == [item + 0.5 for item in lent]
        one.remove(seen[:3])
    assert shown(selector, seen[3:]) == shown(other, seen[3:])
