"""Laws of a pool in a buffer that is larger: what the estimates of their sums are worth, and that nothing is biased."""

from typing import Any

import numpy as np
import pytest

from quantum_sampler import make_selector
from quantum_sampler.selectors.mixture import Mixture

ITEMS, POOL = 400, 40
SELECTORS: dict[str, dict[str, Any]] = {
    "markov": {"proposal": "direct", "bits": 3, "novelty": 0.5},
    "boltzmann": {"bits": 4, "hidden": 2, "steps": 5, "every": 10**6},
}
selectors = pytest.mark.parametrize("name", SELECTORS)


def filled(name: str, normaliser: str, seed: int = 0, queries: int = 200, plans: int = 8) -> Any:
    """Losses over two orders of magnitude, so a pool's sum says little of the buffer's; some items without features."""
    how: dict[str, Any] = {"normaliser": normaliser}
    how |= {"normaliser_queries": queries} if normaliser != "pool" else {}
    selector = make_selector(name, 512, seed, 3, inline=True, pool=POOL, plans=plans, **how, **SELECTORS[name])
    rng = np.random.default_rng(1)
    selector.add(100 + np.arange(ITEMS), rng.lognormal(0.0, 2.0, ITEMS))
    seen = ITEMS - 50
    selector.update(100 + np.arange(seen), rng.lognormal(0.0, 2.0, seen), rng.normal(size=(seen, 3)))
    return selector


def sums(name: str, normaliser: str, seeds: int, **options: Any) -> np.ndarray:
    """What the inclusions of all items in a batch of 8 add up to by the reference: 8, if the normaliser is right."""
    found = []
    for seed in range(seeds):
        selector = filled(name, normaliser, seed, **options)
        selector.select(8)
        selector.prepare(0)
        batch = selector.select(8)
        assert not batch.source.any()
        found.append(batch.law(100 + np.arange(ITEMS), 8).sum())
    return np.array(found)


@selectors
def test_estimates_see_the_whole_buffer(name: str) -> None:
    """200 queries by the scores in the tree are worth more than the 40 items of a pool, drawn uniformly."""
    error = {normaliser: np.abs(sums(name, normaliser, 12) / 8 - 1).mean() for normaliser in ("pool", "monte_carlo")}
    assert error["monte_carlo"] < 0.1 < error["pool"]
    assert np.abs(sums(name, "stratified", 12) / 8 - 1).mean() < 0.1
    assert np.abs(sums(name, "amplitude", 6, queries=10_000) / 8 - 1).mean() < 0.02


@selectors
@pytest.mark.parametrize("normaliser", ["monte_carlo", "amplitude"])
def test_a_mixture_stays_unbiased_and_its_state_continues(name: str, normaliser: str) -> None:
    """Sums over the buffer within 5 standard errors of the mean of plannings; a state of half-way gives the same."""

    def mixture() -> Mixture:
        uniform = make_selector("uniform", 512, 7, 3)
        uniform.add(100 + np.arange(ITEMS))
        return Mixture({"uniform": (0.5, uniform), name: (0.5, filled(name, normaliser, queries=50, plans=2))}, 3)

    g = np.sin(np.arange(100 + ITEMS)) + 1.5
    first, again = mixture(), mixture()
    found = []
    for step in range(300):
        if step == 150:
            again.load_state_dict(first.state_dict())
        batch = first.select(16)
        found.append((g[batch.ids] / batch.inclusion).sum())
        first.prepare(step)
        if step >= 150:
            assert again.select(16).inclusion.tolist() == batch.inclusion.tolist()
            again.prepare(step)
    means = np.reshape(found[4:], (-1, 2)).mean(1)  # two batches of each planning
    assert abs(means.mean() - g[100:].sum()) < 5 * means.std() / np.sqrt(means.size)


@selectors
def test_a_buffer_within_the_pool_needs_no_estimate(name: str) -> None:
    selector = filled(name, "monte_carlo", queries=1)
    selector.remove(100 + np.arange(ITEMS - POOL))
    selector.select(8)
    selector.prepare(0)
    assert selector.select(8).law(100 + np.arange(ITEMS), 8).sum() == pytest.approx(8.0)
