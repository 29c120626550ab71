"""The diagnostic of fresh losses, in every selector that has scores, against exact sums."""

from typing import Any

import numpy as np
import pytest

from quantum_sampler import make_selector
from quantum_sampler.amplitude.estimation import Method
from quantum_sampler.amplitude.fresh_loss import FreshLoss

ITEMS = 80
LOSSES = np.random.default_rng(6).gamma(2.0, 1.0, 2 * ITEMS)
SELECTORS: dict[str, dict[str, Any]] = {
    "prioritized": {},
    "curious": {"c": 2.0, "initial": 4.0},
    "annealed": {"pool": 16, "reads": 16, "plans": 2, "inline": True},
    "boltzmann": {"bits": 4, "hidden": 2, "steps": 2, "inline": True},
    "markov": {"bits": 4, "inline": True},
    "recall": {"bits": 4, "radius": 1},
    "novel": {"inducing": 8, "inline": True},
}


def observed(name: str, method: Method, queries: int, **options: Any) -> Any:
    """A selector whose items have lost half of their losses since they were visited, and ids that are not slots."""
    ids = ITEMS // 2 + np.arange(ITEMS)
    fresh = {"fresh_every": 2, "fresh_queries": queries, "fresh_method": method}
    selector: Any = make_selector(name, ITEMS, 0, 3, lambda ids: LOSSES[ids] / 2, **fresh, **SELECTORS[name], **options)
    selector.add(ids)
    selector.update(ids[:60], LOSSES[ids[:60]], np.random.default_rng(1).normal(size=(60, 3)))
    for step in range(2):
        selector.select(4)
        selector.prepare(step)
        assert ("fresh_loss" in selector.metrics()) == (step == 1)
    return selector


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize(("method", "queries"), [("amplitude", 20_000), ("monte_carlo", 400), ("stratified", 400)])
def test_estimates_are_those_of_the_selectors_own_scores(name: str, method: Method, queries: int) -> None:
    """Within 5 stated standard errors of the sums over all items; items whose loss is not known stand out."""
    selector = observed(name, method, queries)
    slots = np.arange(ITEMS)
    ids = np.where(slots < ITEMS // 2, slots + ITEMS, slots)
    if name == "curious":
        visits = np.isin(ids, np.arange(ITEMS // 2, ITEMS // 2 + 60))
        scores = 2.0 * 0.7**visits + (LOSSES[ids] / 2 + 0.01) ** 0.7
    else:
        scores = (LOSSES[ids] / 2 + 0.01) ** 0.6
    exact = {
        "fresh_loss": LOSSES[ids].mean() / 2,
        "fresh_sample_size": scores.sum() ** 2 / (scores**2).sum(),
        "fresh_ratio": scores.sum() / getattr(selector, "fallback", selector).tree.values[slots].sum(),
    }
    metrics = selector.metrics()
    for key, value in exact.items():
        assert abs(metrics[key] - value) < 5 * metrics[f"{key}_error"] < 0.5 * value, key
        assert metrics[f"{key}_queries"] == queries
        assert metrics[f"{key}_probes"] == ITEMS if method == "amplitude" else 0 < metrics[f"{key}_probes"] <= ITEMS


@pytest.mark.parametrize("name", SELECTORS)
def test_estimates_are_part_of_the_state(name: str) -> None:
    first = observed(name, "monte_carlo", 10)
    other = make_selector(name, ITEMS, 9, 3, lambda ids: LOSSES[ids] / 2, fresh_every=2, **SELECTORS[name])
    other.load_state_dict(first.state_dict())
    assert other.metrics() == first.metrics()


def test_an_item_is_probed_once_for_all_estimates() -> None:
    asked: list[np.ndarray] = []

    def probe(ids: np.ndarray) -> np.ndarray:
        asked.append(ids)
        return np.asarray(LOSSES[ids])

    fresh = FreshLoss(1, 60, "stratified")
    fresh.observe(
        probe, np.arange(ITEMS), np.random.default_rng(0), LOSSES[:ITEMS], lambda indices, losses: losses**0.5
    )
    everything = np.concatenate(asked)
    assert everything.size == np.unique(everything).size > 40
    assert {f"fresh_{name}" for name in ("loss", "sample_size", "ratio")} < fresh.metrics().keys()


def test_it_is_off_by_default_and_without_a_probe() -> None:
    def forbidden(ids: np.ndarray) -> np.ndarray:
        raise AssertionError

    for probe, options in ((forbidden, {}), (None, {"fresh_every": 1})):
        selector = make_selector("prioritized", 8, 0, 0, probe, **options)
        selector.add([0, 1])
        selector.prepare(0)
        assert not any(key.startswith("fresh") for key in selector.metrics())
