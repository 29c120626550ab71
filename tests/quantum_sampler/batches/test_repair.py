"""Repair of reads of the wrong size, against the conditional law by enumeration."""

import numpy as np
import pytest

from quantum_sampler.batches.repair import repaired
from tests.quantum_sampler.batches.pools import law_of


@pytest.mark.parametrize("wrong", [[0, 3, 7], [0, 1, 3, 5, 7]])
def test_one_change_follows_the_conditional_law(wrong: list[int]) -> None:
    """Counts of 20,000 repairs by one step against P(x') ~ exp(log P) over the sets in reach, within 5 sigma."""
    law, rng = law_of(8, 4, 3), np.random.default_rng(0)
    bits = np.zeros(8)
    bits[wrong] = 1
    batches, chances = law.exact()
    reached = [sorted(set(wrong) ^ {item}) for item in range(8) if (item in wrong) == (len(wrong) > 4)]
    p = np.array([chances[(batches == batch).all(1)][0] for batch in reached])
    members = repaired(law, np.tile(bits, (20_000, 1)), rng)
    counts = np.array([(members == batch).all(1).sum() for batch in reached])
    assert counts.sum() == 20_000
    p /= p.sum()
    assert (np.abs(counts - 20_000 * p) < 5 * np.sqrt(20_000 * p * (1 - p))).all()


def test_batches_stay_as_they_are_and_all_sizes_become_k() -> None:
    law, rng = law_of(12, 5, 1), np.random.default_rng(1)
    bits = rng.random((300, 12)) < rng.random((300, 1))
    bits[0], bits[1] = False, True
    members = repaired(law, bits, rng)
    assert members.shape == (300, 5)
    for row, before in zip(members, bits, strict=True):
        assert (np.diff(row) > 0).all()
        old = set(np.flatnonzero(before))
        assert set(row) <= old or old <= set(row)
    assert repaired(law, bits[:0], rng).shape == (0, 5)


def test_a_whole_pool_and_extreme_odds() -> None:
    rng = np.random.default_rng(2)
    assert repaired(law_of(4, 4, 0), np.zeros((3, 4)), rng).tolist() == [[0, 1, 2, 3]] * 3
    law = law_of(6, 2, 0)
    law.fields[:] = [0.0, -1e4, -1e4, 0.0, -1e4, -1e4]
    assert repaired(law, np.ones((5, 6)), rng).tolist() == [[0, 3]] * 5
