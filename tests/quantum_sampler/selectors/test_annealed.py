from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_opt.backends import open_backend
from hybrid_opt.backends.ledger.store import Ledger
from quantum_sampler import Selector, make_selector
from quantum_sampler.selector import OptionError
from tests.hybrid_opt.flaky.client import NAME

ITEMS, WIDTH = 24, 4


def made(items: int = ITEMS, seed: int = 0, **options: Any) -> Selector:
    """A selector with losses and features of its items, those of the last third without features."""
    rng = np.random.default_rng(100)
    unread = options.get("engine") in ("greedy", "facility_greedy", "dpp", "systematic", "pivotal")
    reads = {} if unread else {"reads": 8}
    small = {"inline": True, "pool": 12, **reads, "plans": 8}
    selector = make_selector("annealed", 2 * items, seed, WIDTH, **{**small, **options})
    selector.add(np.arange(items))
    losses, features = rng.lognormal(0, 1, items), rng.normal(size=(items, WIDTH))
    seen = items - items // 3
    selector.update(np.arange(seen), losses[:seen], features[:seen].astype(np.float32))
    return selector


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"floor": 0.1, "pool_by": "uniform"},
        {"floor": 0.1, "pool_by": "priority", "per_pool": 3},
        {"floor": 0.2, "engine": "greedy", "pool_by": "priority"},
        {"floor": 0.1, "engine": "pivotal", "utility": "priority"},
        {"floor": 0.2, "engine": "annealing", "reads": 4, "infeasible": "repair"},
    ],
)
def test_sum_over_inclusion_has_the_sum_of_the_buffer_as_its_mean(options: dict[str, Any]) -> None:
    """Few reads, whose own estimate of the inclusion is poor, and engines that do not sample: within 4 standard errors.

    The mean is over plans of one planning each, so that those of one pool count once.
    """
    selector = made(**options)
    g = np.random.default_rng(5).normal(size=(ITEMS, 3)) + 1.0
    selector.select(5)
    selector.prepare(0)
    means, counts = [], np.zeros(ITEMS)
    for planning in range(60 if options.get("engine") == "annealing" else 200):
        batches = [selector.select(5) for _ in range(8)]
        assert not any(batch.source.any() for batch in batches)
        for batch in batches:
            counts[batch.ids] += 1 / batch.inclusion
            np.testing.assert_allclose(batch.weight, 5 / (ITEMS * batch.inclusion))
        means.append(np.mean([(g[b.ids] / b.inclusion[:, None]).sum(0) for b in batches], 0))
        selector.prepare(planning)
    values = np.array(means)
    error = values.std(0) / np.sqrt(len(values))
    assert (np.abs(values.mean(0) - g.sum(0)) < 4 * error).all()
    assert (counts > 0).all()


def test_batches_are_less_redundant_than_those_of_the_tree() -> None:
    rng = np.random.default_rng(0)
    cluster = rng.integers(4, size=200)
    features = np.eye(4)[cluster] + 0.05 * rng.normal(size=(200, 4))

    def together(redundancy: float) -> float:
        selector = make_selector("annealed", 200, 0, 4, inline=True, plans=64, redundancy=redundancy)
        selector.add(np.arange(200), np.ones(200), features.astype(np.float32))
        selector.select(4)
        selector.prepare(0)
        batches = [cluster[selector.select(4).ids] for _ in range(64)]
        return float(np.mean([4 - len(set(batch)) for batch in batches]))

    assert together(3.0) < 0.6 * together(0.0)


def test_state_round_trip_continues_exactly() -> None:
    first, second = made(seed=1), made(seed=2)
    for _ in range(6):
        first.select(4)
        first.prepare(0)
    second.load_state_dict(first.state_dict())
    for _ in range(20):
        one, two = first.select(4), second.select(4)
        np.testing.assert_array_equal(one.ids, two.ids)
        np.testing.assert_array_equal(one.inclusion, two.inclusion)
        first.prepare(0)
        second.prepare(0)


def test_fewer_items_than_the_batch_fall_back() -> None:
    selector = made(items=3)
    for _ in range(3):
        assert selector.select(8).source.all()
        selector.prepare(0)
    assert selector.metrics()["fallback_rate"] == 1.0


def test_a_buffer_smaller_than_the_pool() -> None:
    selector = made(items=6)
    selector.select(6)
    selector.prepare(0)
    batch = selector.select(6)
    assert sorted(batch.ids) == list(range(6))
    np.testing.assert_allclose(batch.inclusion, 1.0)


def test_a_pool_too_small_for_the_batch_is_refused() -> None:
    selector = made()
    selector.select(16)
    with pytest.raises(OptionError, match=r"^replay.pool=12: batches of 16 need a pool of at least as many$"):
        selector.prepare(0)


def test_qaoa_as_engine_and_its_limit() -> None:
    selector = made(engine="qaoa", options={"angles": "ramp"}, plans=2, reads=16)
    selector.select(4)
    selector.prepare(0)
    assert not selector.select(4).source.any()
    large = made(items=80, engine="qaoa", pool=64)
    large.select(16)
    with pytest.raises(OptionError, match=r"replay.pool=64, batches of 16: .* are simulated"):
        large.prepare(0)


@pytest.mark.slow
def test_a_vendor_that_refuses_everything_is_stood_in_for(tmp_path: Path) -> None:
    quiet = "refuse=1&delay=0&lose=0&duplicate=0&corrupt=0&drop=0"
    selector = made(backend=f"{NAME}?inner=dwave:mock&{quiet}&folder={tmp_path}")
    selector.select(4)
    with pytest.warns(RuntimeWarning, match="no batches planned"):
        selector.prepare(0)
    assert selector.select(4).source.all()
    selector.close()
    assert selector.metrics()["plan_failures"] == 1
    assert selector.metrics()["fallback_rate"] == 1.0


@pytest.mark.slow
def test_a_ledger_brings_plans_from_a_vendor_that_fails_half_of_its_calls(tmp_path: Path) -> None:
    rates = "refuse=0.2&lose=0.1&corrupt=0.1&drop=0.1&delay=0&duplicate=0"
    failing = f"{NAME}?inner=dwave:mock&{rates}&folder={tmp_path}"
    ledger = Ledger(tmp_path / "ledger.sqlite", pause=0.01, longest_pause=0.05, tries=100)
    selector = made(backend=open_backend(failing, ledger=ledger), reads=16, plans=4, infeasible="repair")
    selector.select(4)
    selector.prepare(0)
    batch = selector.select(4)
    selector.close()
    assert not batch.source.any()
    assert len(set(batch.ids)) == 4
    assert selector.metrics()["plan_failures"] == 0
    with Ledger(tmp_path / "ledger.sqlite") as booked:
        assert booked.spent.shots >= 16


@pytest.mark.parametrize("option", ["ledger", "budget", "fallback"])
def test_what_a_backend_brings_is_no_option_of_its_own(option: str) -> None:
    with pytest.raises(OptionError, match=f"replay.{option}: no such option of annealed"):
        make_selector("annealed", 8, 0, 2, **{option: None})


def test_reference_is_positive_and_sums_to_the_batch() -> None:
    selector: Any = made()
    law = selector._law(np.arange(ITEMS), 5)
    assert law.min() > 0
    assert law.sum() == pytest.approx(5)
