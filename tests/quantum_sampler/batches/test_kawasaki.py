import numpy as np
import pytest

from quantum_sampler.batches.kawasaki import Kawasaki, alias_table
from tests.quantum_sampler.batches.pools import exact_inclusion, excess, law_of


@pytest.mark.parametrize(
    ("redundancy", "temperature", "sweeps"), [(0.0, 1.0, 16), (2.0, 1.0, 16), (4.0, 1.0, 32), (2.0, 0.5, 64)]
)
def test_reads_follow_the_exact_law(redundancy: float, temperature: float, sweeps: int) -> None:
    """Total variation within 0.02 of what as many exact draws show, at N = 16, k = 4."""
    law, rng = law_of(16, 4, 3, redundancy, temperature), np.random.default_rng(0)
    assert excess(law, Kawasaki(40_000, sweeps).reads(law, 1, rng).members, rng) < 0.02


def test_inclusion_of_large_batches() -> None:
    law, rng = law_of(12, 9, 4), np.random.default_rng(0)
    members = Kawasaki(20_000, 16).reads(law, 1, rng).members
    np.testing.assert_allclose(np.bincount(members.ravel()) / 20_000, exact_inclusion(law), atol=0.02)


def test_near_zero_temperature_it_finds_the_best_batch() -> None:
    law, rng = law_of(14, 4, 5, temperature=0.01), np.random.default_rng(0)
    batches, chances = law.exact()
    members = np.sort(Kawasaki(64, 400).reads(law, 1, rng).members, axis=1)
    assert (members == batches[chances.argmax()]).all(1).mean() > 0.5


def test_alias_table_is_exact() -> None:
    weights = np.random.default_rng(0).lognormal(0, 2, 37)
    keep, other = alias_table(weights)
    chances = keep.copy()
    np.add.at(chances, other, 1 - keep)
    np.testing.assert_allclose(chances / 37, weights / weights.sum(), rtol=1e-9, atol=1e-12)


def test_a_seed_repeats() -> None:
    law = law_of(20, 5)
    first, second = (Kawasaki(50).reads(law, 1, np.random.default_rng(7)).members for _ in range(2))
    np.testing.assert_array_equal(first, second)
