from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from quantum_sampler.selectors.base.sum_tree import TOP, SumTree

SIZES = [1, 5, 4096, 4097, 70_001]


class Fixed:
    """A generator whose numbers are given."""

    def __init__(self, unit: Any) -> None:
        self.unit = np.asarray(unit, np.float64)

    def random(self, count: int) -> np.ndarray:
        assert count == self.unit.size
        return self.unit.copy()


def tree_of(values: np.ndarray) -> SumTree:
    tree = SumTree(values.size)
    tree.set(np.arange(values.size), values)
    return tree


@pytest.mark.parametrize("size", SIZES)
def test_draws_are_the_inverse_of_the_cumulative_sum(size: int) -> None:
    """Whole numbers add without rounding, so the slot of every point is known exactly."""
    rng = np.random.default_rng(size)
    values = rng.integers(0, 9, size).astype(float) + (np.arange(size) == 0)
    tree = tree_of(values)
    unit = np.concatenate([[0.0, np.nextafter(1.0, 0.0)], rng.random(500)])
    slots, drawn = tree.draw(Fixed(unit), unit.size, stratified=False)  # type: ignore[arg-type]
    np.testing.assert_array_equal(slots, np.cumsum(values).searchsorted(unit * values.sum(), side="right"))
    np.testing.assert_array_equal(drawn, values[slots])
    assert tree.total == values.sum()


@pytest.mark.parametrize("size", [40, 20_000])
@pytest.mark.parametrize("stratified", [False, True])
def test_law(size: int, stratified: bool) -> None:
    """Chi-square of 200,000 draws in 40 groups against the exact law: p within 1e-4 of neither end."""
    rng = np.random.default_rng(1)
    values = rng.random(size) ** 6
    tree = tree_of(values)
    slots = np.concatenate([tree.draw(rng, 500, stratified)[0] for _ in range(400)])
    group = rng.permutation(np.arange(size) % 40)
    p = np.bincount(group, values) / values.sum()
    outcome = chisquare(np.bincount(group[slots], minlength=40), p * slots.size)
    assert outcome.pvalue > 1e-4
    if not stratified:
        assert outcome.pvalue < 1.0 - 1e-4


def test_stratified_draws_follow_the_law_within_one() -> None:
    """In every batch the number of draws up to any slot is within one of its expectation."""
    rng = np.random.default_rng(2)
    values = rng.random(10_000) ** 4
    tree = tree_of(values)
    cumulative = np.cumsum(values) / values.sum()
    for _ in range(20):
        slots, _ = tree.draw(rng, 300)
        counts = np.cumsum(np.bincount(slots, minlength=values.size))
        assert np.abs(counts - 300 * cumulative).max() < 1.0 + 1e-9


@pytest.mark.parametrize("seed", range(40))
def test_zero_is_never_drawn(seed: int) -> None:
    """Values over 18 orders of magnitude, most of them 0; points at both ends and inside."""
    rng = np.random.default_rng(seed)
    size = int(rng.choice([3, 17, 5000, 9000, 80_000]))
    values = rng.random(size) * 10.0 ** rng.integers(-9, 9, size) * (rng.random(size) < 10.0 ** -rng.uniform(0, 4))
    values[rng.integers(size)] = 1e-9
    tree = tree_of(values)
    ends = [0.0, 5e-324, np.nextafter(1.0, 0.0), 1.0 - 2.0**-52]
    unit = np.concatenate([ends, rng.random(200)])
    slots, drawn = tree.draw(Fixed(unit), unit.size, stratified=False)  # type: ignore[arg-type]
    assert (drawn > 0).all()
    assert (slots < size).all()
    np.testing.assert_array_equal(values[slots], drawn)
    assert (tree.draw(rng, 64)[1] > 0).all()


def test_rounding_past_the_end_of_a_node() -> None:
    """A node may exceed the prefix sums of its children by a rounding; no draw may fall on the zeros behind them."""
    rng = np.random.default_rng(3)
    past = 0
    for _ in range(300):
        values = np.zeros(TOP + 1)
        values[160:172] = rng.random(12)  # one group of 16, zeros at its end
        tree = tree_of(values)
        prefix = np.cumsum(values[160:172])[-1]
        past += tree.total > prefix and np.nextafter(tree.total, 0.0) >= prefix
        unit = [np.nextafter(1.0, 0.0)]
        slots, drawn = tree.draw(Fixed(unit), 1, stratified=False)  # type: ignore[arg-type]
        assert slots.tolist() == [171]
        assert drawn[0] == values[171]
    assert past > 10  # the case does occur


def test_changes_leave_no_trace() -> None:
    """After thousands of changes the tree equals, to the bit, one that is filled at once."""
    rng = np.random.default_rng(4)
    size = 70_000
    tree, values = SumTree(size), np.zeros(size)
    for count in [1, 2, 3, 7, 256, 1000, 20_000] * 20:
        slots = rng.integers(0, size, count)
        new = rng.random(count) * 10.0 ** rng.integers(-6, 6, count)
        tree.set(slots, new)
        values[slots] = new
    again = tree_of(values)
    assert tree.total == again.total
    for level, other in zip(tree._levels, again._levels, strict=True):
        np.testing.assert_array_equal(level, other)
    assert tree.total == pytest.approx(values.sum(), rel=1e-12)


def test_the_last_value_of_a_repeated_slot_counts() -> None:
    tree = SumTree(5000)
    tree.set(np.array([8, 9, 8]), np.array([5.0, 2.0, 1.0]))
    assert tree.total == 3.0
    assert tree.values[8] == 1.0


def test_all_zero_is_an_error_and_huge_values_saturate() -> None:
    tree = SumTree(5000)
    with pytest.raises(ValueError, match="all values are 0"):
        tree.draw(np.random.default_rng(0), 1)
    tree.set(np.arange(5000), np.full(5000, 1.7e308))
    assert np.isfinite(tree.total)
    assert len(set(tree.draw(np.random.default_rng(0), 500)[0])) == 500


def test_empty_draw_and_memory() -> None:
    tree = SumTree(1_000_000)
    tree.set(np.array([3]), 1.0)
    assert tree.draw(np.random.default_rng(0), 0)[0].size == 0
    held = [*tree._levels, tree._bounds]
    assert sum(array.nbytes for array in held) < 8.7 * 1_000_000
