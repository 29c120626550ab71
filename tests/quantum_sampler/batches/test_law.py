from itertools import combinations

import numpy as np
import pytest

from quantum_sampler.batches import BatchLaw, matched, similarity
from quantum_sampler.batches.proportional import proportional
from tests.quantum_sampler.batches.pools import exact_inclusion, law_of


def test_exact_law_is_the_formula() -> None:
    rng = np.random.default_rng(1)
    utility, alike = rng.normal(size=7), similarity(rng.normal(size=(7, 3)), np.ones(7, bool))
    batches, chances = BatchLaw(utility, alike, 3, redundancy=1.7, temperature=0.6).exact()
    weight = {}
    for subset in combinations(range(7), 3):
        redundancy = sum(alike[i, j] for i, j in combinations(subset, 2))
        weight[subset] = np.exp((sum(utility[i] for i in subset) - 1.7 * redundancy) / 0.6)
    total = sum(weight.values())
    assert len(batches) == 35
    for batch, chance in zip(batches, chances, strict=True):
        assert chance == pytest.approx(weight[tuple(batch)] / total, rel=1e-12)


def test_chemical_potential_balances_the_size() -> None:
    """Under the mean-field balance the size is likely without any penalty, whatever the scale of the utilities."""
    for shift in (0.0, 50.0):
        law = law_of(14, 4, seed=2)
        law = BatchLaw(law.fields + shift, law.similarity, 4)
        energies = law.qubo.diagonal()
        chances = np.exp(energies.min() - energies)
        ones = np.array([int(state).bit_count() for state in range(1 << 14)])
        assert chances @ ones / chances.sum() == pytest.approx(4.0, abs=0.7)


def test_similarity_is_the_positive_cosine_of_centred_features() -> None:
    features = np.array([[3.0, 1.0], [1.0, 3.0], [-1.0, 1.0], [1.0, -1.0], [9.0, 9.0]], np.float32)
    seen = np.array([True, True, True, True, False])
    centred = features[:4] - features[:4].mean(0)
    expected = np.zeros((5, 5))
    for i in range(4):
        for j in range(4):
            if i != j:
                cosine = centred[i] @ centred[j] / np.linalg.norm(centred[i]) / np.linalg.norm(centred[j])
                expected[i, j] = max(cosine, 0.0)
    np.testing.assert_allclose(similarity(features, seen), expected, atol=1e-7)
    assert not similarity(features, np.zeros(5, bool)).any()
    assert not similarity(np.tile(features[:1], (5, 1)), seen).any()  # all at the centre


def test_matched_utilities_bring_inclusion_back_to_priority() -> None:
    for seed in range(3):
        plain = law_of(14, 4, seed)
        target = proportional(np.exp(plain.fields), 4)
        utility = matched(plain.fields, plain.similarity, 4)
        law = BatchLaw(utility, plain.similarity, 4)
        error = np.abs(exact_inclusion(law) - target).mean()
        assert error < 0.02
        assert error < 0.5 * np.abs(exact_inclusion(plain) - target).mean()


def test_matched_without_redundancy_takes_certain_items() -> None:
    utility = np.array([9.0, 0.0, 0.0, 0.0])
    law = BatchLaw(matched(utility, np.zeros((4, 4)), 2, 0.0), np.zeros((4, 4)), 2, 0.0)
    assert exact_inclusion(law)[0] > 0.97


@pytest.mark.parametrize("size", [0, 5])
def test_size_out_of_range(size: int) -> None:
    with pytest.raises(ValueError, match=f"size={size}: from 1 to 4 of the pool"):
        BatchLaw(np.zeros(4), np.zeros((4, 4)), size)
