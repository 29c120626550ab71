import io
from typing import Any

import numpy as np
import pytest
import torch

from quantum_sampler import OptionError
from quantum_sampler.amplitude.amplification import Search, marked_probability
from quantum_sampler.codes.projection import RandomProjection
from quantum_sampler.selectors.recall import Recall, RecallConfig

F = 6


def features(items: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(items, F)).astype(np.float32)


def make(capacity: int = 64, seed: int = 0, **options: Any) -> Recall:
    return Recall(RecallConfig(**{"bits": 8, "radius": 2, "neighbours": 0, "fit": 8, **options}), capacity, seed, F)


def filled(items: int = 40, visited: int = 30, **options: Any) -> tuple[Recall, np.ndarray, np.ndarray]:
    """A selector, the scores [items], and the features [items] of which the first `visited` are known to it."""
    selector, known = make(**options), features(items)
    losses = np.exp(np.random.default_rng(7).normal(0.0, 1.0, items))
    selector.add(np.arange(items), losses)
    selector.update(np.arange(visited), losses[:visited], known[:visited])
    selector.prepare(0)
    return selector, (losses + 0.01) ** 0.6, known


def near(known: np.ndarray, visited: int, context: np.ndarray, radius: int, bits: int = 8, seed: int = 0) -> np.ndarray:
    """Which items [N] are marked, from bits compared one by one."""
    projection = RandomProjection(F, bits, (seed, 1))
    projection.fit(known[:visited])
    codes, queries = projection.encode(known), projection.encode(np.atleast_2d(context))
    distance = [min(bin(int(code) ^ int(query)).count("1") for query in queries) for code in codes]
    return (np.array(distance) <= radius) & (np.arange(len(known)) < visited)


def law_of_rounds(widths: np.ndarray, mass: float) -> float:
    """Success of a search, by enumeration."""
    return 1.0 - float(np.prod([1.0 - np.mean(marked_probability(mass, np.arange(width))) for width in widths]))


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("queries", [None, 1, 7])
def test_inclusion_is_the_mixture_of_outcomes(queries: int | None, rows: int) -> None:
    """floor p + (1 - floor) (S p / P on the marked + (1 - S) p), with all terms made anew."""
    selector, scores, known = filled(queries=queries, floor=0.3)
    context = known[:rows] if rows > 1 else known[3]
    law = selector.select(8, context).law(np.arange(40), 8)
    marked, p = near(known, 30, context, 2), scores / scores.sum()
    assert 0 < marked.sum() < 30
    mass = p[marked].sum()
    success = law_of_rounds(Search.within(queries or int(9 * np.sqrt(40))).widths, mass)
    outcome = success * np.where(marked, p / mass, 0.0) + (1 - success) * p
    np.testing.assert_allclose(law, 8 * (0.3 * p + 0.7 * outcome), rtol=1e-10)


@pytest.mark.parametrize("queries", [2, 40])
def test_draws_follow_the_law(queries: int) -> None:
    """Counts in 1,500 batches of 9 (a floor of 2.7) against the law: 5 sigma each, and chi-square on 39 degrees."""
    selector, _, known = filled(queries=queries, floor=0.3)
    counts, recalled = np.zeros(40), np.zeros(40)
    for _ in range(1500):
        batch = selector.select(9, known[3])
        counts += np.bincount(batch.ids, minlength=40)
        recalled += np.bincount(batch.ids[batch.source == 0], minlength=40)
    law = batch.law(np.arange(40), 9)
    np.testing.assert_allclose(batch.inclusion, law[batch.ids], rtol=1e-12)
    mean = 1500 * law
    assert law.sum() == pytest.approx(9.0, rel=1e-12)
    assert (np.abs(counts - mean) < 5 * np.sqrt(mean)).all()
    assert ((counts - mean) ** 2 / mean).sum() < 39 + 5 * np.sqrt(2 * 39)
    assert not recalled[~near(known, 30, known[3], 2)].any()


def test_marked_items_are_in_proportion_to_their_scores() -> None:
    """Chi-square of what the searches found, within 5 sigma of its degrees of freedom."""
    selector, scores, known = filled(floor=0.1)
    marked = np.flatnonzero(near(known, 30, known[3], 2))
    batches = [selector.select(50, known[3]) for _ in range(400)]
    found = np.concatenate([batch.ids[batch.source == 0] for batch in batches])
    counts = np.bincount(found, minlength=40)[marked]
    mean = counts.sum() * scores[marked] / scores[marked].sum()
    assert counts.sum() == found.size > 15_000
    degrees = marked.size - 1
    assert ((counts - mean) ** 2 / mean).sum() < degrees + 5 * np.sqrt(2 * degrees)


def test_horvitz_thompson_and_weights() -> None:
    """The sum of g / inclusion, and the mean of g x weight, within 5 standard errors of 1,500 batches."""
    selector, _, known = filled(weight_exponent=1.0, floor=0.2)
    g = np.cos(np.arange(40)) + np.linspace(0, 2, 40)
    batches = [selector.select(10, known[5]) for _ in range(1500)]
    sums = np.array([(g[batch.ids] / batch.inclusion).sum() for batch in batches])
    means = np.array([(g[batch.ids] * batch.weight).mean() for batch in batches])
    assert abs(sums.mean() - g.sum()) < 5 * sums.std() / np.sqrt(sums.size)
    assert abs(means.mean() - g.mean()) < 5 * means.std() / np.sqrt(means.size)


def test_bias_is_wanted_by_default() -> None:
    selector, _, known = filled()
    np.testing.assert_array_equal(selector.select(20, known[3]).weight, 1.0)


def test_neighbours_shrink_the_radius() -> None:
    """The smallest radius with so many items, however the items lie in memory."""
    known = features(300)
    for neighbours in (1, 10, 299, 1000):
        selector, _, _ = filled(items=300, visited=290, capacity=320, radius=5, neighbours=neighbours)
        law = selector.select(4, known[3]).law(np.arange(300), 4)
        tree = selector.select(4).law(np.arange(300), 4)
        sizes = [near(known, 290, known[3], radius).sum() for radius in range(6)]
        radius = next((r for r in range(5) if sizes[r] >= neighbours), 5)
        np.testing.assert_array_equal(law > tree, near(known, 290, known[3], radius))
        assert selector.metrics()["radius"] == 0  # of the last batch, which had no context


def test_falls_back_to_the_tree() -> None:
    """Without context, before the fit, and where nothing is marked; the floor is no fallback."""
    selector, scores, known = filled(radius=0, floor=0.5)
    tree = 8 * scores / scores.sum()
    np.testing.assert_allclose(selector.select(8).law(np.arange(40), 8), tree)
    assert selector.metrics()["fallback_rate"] == 1.0
    assert selector.metrics()["queries"] == 0
    far = next(row for row in features(500, seed=8) if not near(known, 30, row, 0).any())
    batch = selector.select(8, far)
    np.testing.assert_allclose(batch.law(np.arange(40), 8), tree)
    assert (batch.source == 1).all()
    metrics = selector.metrics()
    assert metrics["fallback_rate"] == 1.0
    widths = Search.within(int(9 * np.sqrt(40))).widths
    assert 4 * len(widths) <= metrics["queries"] <= 4 * widths.sum()  # nobody knew that nothing is marked
    assert metrics["marked"] == metrics["marked_mass"] == 0.0
    assert metrics["classical_scan"] == metrics["loading"] == 40
    early = make(fit=64)
    early.add(np.arange(10), np.ones(10), known[:10])
    early.prepare(0)
    np.testing.assert_allclose(early.select(8, known[0]).law(np.arange(10), 8), 0.8)


def test_all_marked() -> None:
    """Every search succeeds with its first query."""
    selector, scores, known = filled(visited=40, radius=8, floor=0.25)
    batch = selector.select(8, known[0])
    np.testing.assert_allclose(batch.law(np.arange(40), 8), 8 * scores / scores.sum())
    metrics = selector.metrics()
    assert (metrics["marked"], metrics["queries"], metrics["fallback_rate"]) == (1.0, 6, 0.0)
    assert metrics["classical_scan"] == pytest.approx(6.0)


def test_queries_are_those_of_the_search() -> None:
    """Mean queries of 1,000 batches within 5 standard errors; rejection sampling takes 1 / P each."""
    selector, scores, known = filled(floor=0.5)
    mass = scores[near(known, 30, known[3], 2)].sum() / scores.sum()
    queries = []
    for _ in range(1000):
        selector.select(2, known[3])
        queries.append(selector.metrics()["queries"])
    expected = Search.within(int(9 * np.sqrt(40))).expected_queries(mass)
    assert abs(np.mean(queries) - expected) < 5 * np.std(queries) / np.sqrt(1000)
    assert selector.metrics()["marked_mass"] == pytest.approx(mass)
    assert selector.metrics()["classical_scan"] == pytest.approx(min(40, 1 / mass))


def test_projection_is_refitted_when_the_buffer_has_doubled() -> None:
    known = features(64)
    selector = make(fit=8, seed=3)
    for first in range(0, 64, 4):
        ids = np.arange(first, first + 4)
        selector.add(ids, np.ones(4))
        selector.update(ids, np.ones(4), known[ids])
        selector.prepare(first)
    once = make(fit=64, seed=3)  # fitted on all 64, once, as the other one was at last
    once.add(np.arange(64), np.ones(64), known)
    once.prepare(0)
    context, ids = features(20, seed=9), np.arange(64)
    for row in context:
        np.testing.assert_allclose(selector.select(4, row).law(ids, 4), once.select(4, row).law(ids, 4))


def stream(selector: Recall, known: np.ndarray, first: int, last: int) -> list[int]:
    """Let items come one by one with their features; returns which of them made the codes change by a refit."""
    refits = []
    for item in range(first, last):
        selector.add([item], [1.0])
        selector.update([item], [1.0], known[[item]])
        before = selector.state_dict()["projection"]["centre"].clone()
        selector.prepare(item)
        if not torch.equal(before, selector.state_dict()["projection"]["centre"]):
            refits.append(item)
    return refits


def test_projection_is_refitted_when_a_full_buffer_has_been_replaced() -> None:
    """Features that drift: the codes are those of the items that are there, and a state continues the count."""
    known = features(200) + 0.2 * np.arange(200)[:, None].astype(np.float32)
    selector, again = make(32, fit=8, seed=3), make(32, fit=8, seed=4)
    assert stream(selector, known, 0, 100) == [7, 15, 31, 63, 95]
    again.load_state_dict(selector.state_dict())
    for each in (selector, again):
        assert stream(each, known, 100, 160) == [127, 159]
        projection = RandomProjection(F, 8, (3, 1))
        projection.fit(known[128:160])
        assert torch.equal(each.state_dict()["projection"]["centre"], projection.state_dict()["centre"])


def run(selector: Recall, steps: int, first: int) -> list[Any]:
    rng, seen = np.random.default_rng(first), list[Any]()
    for step in range(steps):
        selector.prepare(step)
        batch = selector.select(7, rng.normal(size=F))
        selector.update(batch.ids, 1.0 + batch.ids % 5, rng.normal(size=(7, F)))
        selector.add([first + step])
        selector.remove(batch.ids[:1])
        seen += [batch.ids.tolist(), batch.inclusion.tolist(), batch.source.tolist(), selector.metrics()]
    return seen


def test_state_continues_exactly_across_refits() -> None:
    selector, _, _ = filled(items=30, visited=20, capacity=128)
    run(selector, 9, 200)
    file = io.BytesIO()
    torch.save(selector.state_dict(), file)
    continued = run(selector, 60, 300)
    for restored in (make(128, seed=99), filled(capacity=128)[0]):
        file.seek(0)
        restored.load_state_dict(torch.load(file, weights_only=True))
        assert run(restored, 60, 300) == continued
    assert continued[-1]["marked"] > 0


def test_removed_and_overwritten_items_are_not_recalled() -> None:
    selector, _, known = filled(capacity=40)
    selector.remove([3])
    assert not selector.select(4, known[3]).law(np.array([3]), 4).any()
    selector.add([43])  # in the slot of 3, without features
    tree, recalled = selector.select(4), selector.select(4, known[3])
    assert recalled.law(np.array([43]), 4)[0] < tree.law(np.array([43]), 4)[0]


@pytest.mark.parametrize("context", [np.zeros(F + 1), np.zeros((2, F - 1)), np.full(F, np.nan), np.zeros((1, 1, F))])
def test_bad_context_is_refused(context: np.ndarray) -> None:
    with pytest.raises(ValueError, match="context"):
        filled()[0].select(4, context)


def test_needs_features() -> None:
    with pytest.raises(OptionError, match="feature_dim=0"):
        Recall(RecallConfig(), 8, 0, 0)


def test_extreme_priorities() -> None:
    """Marked items of a share of 1e-180 of the law: its sum is still the batch."""
    selector, _, known = filled()
    marked = near(known, 30, known[3], 2)
    selector.update(np.arange(40), np.where(marked, 0.0, 1e308))
    batch = selector.select(16, known[3])
    assert batch.law(np.arange(40), 16).sum() == pytest.approx(16)
    assert (batch.law(np.arange(40), 16) > 0).all()
    assert np.isfinite(list(selector.metrics().values())).all()


def test_a_random_context_is_one_of_the_visited_items() -> None:
    """Each batch has the law of one of the 30; over 1,500 batches items come as often as in the mean of these laws."""
    selector, _, known = filled(floor=0.3, context="random")
    plain, _, _ = filled(floor=0.3)
    laws = np.array([plain.select(9, known[item]).law(np.arange(40), 9) for item in range(30)])
    counts = np.zeros(40)
    for number in range(1500):
        batch = selector.select(9, known[3])
        if number < 20:
            assert np.isclose(laws, batch.law(np.arange(40), 9), rtol=1e-10).all(1).any()
        counts += np.bincount(batch.ids, minlength=40)
    mean = 1500 * laws.mean(0)
    spread = np.sqrt(mean + 1500 * laws.var(0))  # of a draw, and of the contexts
    assert (np.abs(counts - mean) < 5 * spread).all()
