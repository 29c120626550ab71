from itertools import combinations

import numpy as np
import pytest

from quantum_sampler.batches import BatchLaw
from quantum_sampler.batches.dpp import Determinantal
from quantum_sampler.batches.facility import Facility, coverage
from quantum_sampler.batches.facility_greedy import FacilityGreedy, lazy_greedy
from quantum_sampler.batches.greedy import Greedy, built, improved
from quantum_sampler.batches.pivotal import Pivotal
from quantum_sampler.batches.proportional import proportional, systematic
from quantum_sampler.batches.systematic import Systematic
from tests.quantum_sampler.batches.pools import law_of

DRAWS = 4_000


def test_determinantal_law_is_that_of_the_determinants() -> None:
    law, rng = law_of(7, 3, 1), np.random.default_rng(0)
    quality = np.exp(law.fields / 2)
    kernel = quality[:, None] * (law.similarity + np.eye(7)) * quality
    values, vectors = np.linalg.eigh(kernel)
    kernel = (vectors * np.maximum(values, 0)) @ vectors.T
    weight = {subset: np.linalg.det(kernel[np.ix_(subset, subset)]) for subset in combinations(range(7), 3)}
    total = sum(weight.values())
    reads = Determinantal().reads(law, DRAWS, rng)
    assert reads.inclusion is not None
    for item in range(7):
        expected = sum(value for subset, value in weight.items() if item in subset) / total
        assert reads.inclusion[item] == pytest.approx(expected, rel=1e-9)
    drawn = np.sort(reads.members, axis=1)
    for subset, value in weight.items():
        assert (drawn == subset).all(1).mean() == pytest.approx(value / total, abs=4 * 0.5 / np.sqrt(DRAWS))


@pytest.mark.parametrize("engine", [Systematic(), Pivotal()])
def test_proportional_draws_have_their_inclusion(engine: Systematic | Pivotal) -> None:
    law, rng = law_of(12, 4, 2, temperature=0.7), np.random.default_rng(0)
    reads = engine.reads(law, DRAWS, rng)
    assert reads.inclusion is not None
    counted = np.bincount(reads.members.ravel(), minlength=12) / DRAWS
    np.testing.assert_allclose(counted, reads.inclusion, atol=4 * 0.5 / np.sqrt(DRAWS))
    free = reads.inclusion < 1
    ratio = reads.inclusion[free] / np.exp(law.fields[free])
    np.testing.assert_allclose(ratio, ratio[0])


def test_pivotal_draws_take_one_of_each_cluster() -> None:
    """Four clusters of five, equal priorities: only the last fight of a cluster can leave it."""
    cluster = np.repeat(np.arange(4), 5)
    law = BatchLaw(np.zeros(20), (cluster[:, None] == cluster).astype(float), 4)
    rng = np.random.default_rng(0)

    def clusters(engine: Systematic | Pivotal) -> float:
        return float(np.mean([len(set(cluster[row])) for row in engine.reads(law, 500, rng).members]))

    assert clusters(Pivotal()) == 4.0
    assert clusters(Systematic()) < 3.2


def test_inclusions_are_capped_at_one() -> None:
    inclusion = proportional(np.array([100.0, 50.0, 1.0, 1.0, 2.0, 0.0]), 3)
    np.testing.assert_allclose(inclusion, [1, 1, 0.25, 0.25, 0.5, 0])
    for seed in range(50):
        members = systematic(inclusion, 1, np.random.default_rng(seed))[0]
        assert len(set(members)) == 3
        assert {0, 1} <= set(members) <= {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(proportional(np.ones(4), 4), np.ones(4))


def test_systematic_pools_of_a_large_buffer() -> None:
    inclusion = proportional(np.random.default_rng(0).lognormal(0, 2, 1_000_000), 256)
    for members in systematic(inclusion, 3, np.random.default_rng(1)):
        assert len(set(members)) == 256


def test_greedy_ends_where_no_exchange_helps() -> None:
    for seed in range(5):
        law = law_of(12, 4, seed)
        batches, chances = law.exact()
        log_chance = {tuple(batch): np.log(chance) for batch, chance in zip(batches, chances, strict=True)}
        members = Greedy().reads(law, 1, np.random.default_rng(0)).members[0]
        end = log_chance[tuple(np.sort(members))]
        assert end >= log_chance[tuple(np.sort(built(law)))]
        for out in members:
            for item in set(range(12)) - set(members):
                assert log_chance[tuple(sorted({*members, item} - {out}))] <= end + 1e-9


def test_exchanges_climb_from_anywhere() -> None:
    law = law_of(12, 4, 6)
    batches, chances = law.exact()
    reached = np.sort(improved(law, batches[chances.argmin()]))
    assert chances[(batches == reached).all(1)][0] > 100 * chances.min()


def test_lazy_greedy_is_plain_greedy() -> None:
    for seed in range(5):
        law = law_of(25, 6, seed)
        plain: list[int] = []
        for _ in range(6):
            gains = [coverage(law, np.array([*plain, item])) if item not in plain else -1.0 for item in range(25)]
            plain.append(int(np.argmax(gains)))
        assert lazy_greedy(law).tolist() == plain


def test_facility_is_near_its_greedy_and_varies() -> None:
    law, rng = law_of(30, 5, 1), np.random.default_rng(0)
    best = coverage(law, FacilityGreedy().reads(law, 1, rng).members[0])
    reads = Facility(200).reads(law, 1, rng).members
    values = [coverage(law, row) for row in reads]
    assert len({tuple(sorted(row)) for row in reads}) > 20
    assert 0.85 * best < np.mean(values) <= 1.05 * best
