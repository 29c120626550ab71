"""Fitted codes against the distances that they are to keep."""

import numpy as np
import pytest

from quantum_sampler.codes.learned import LearnedCodes
from quantum_sampler.codes.projection import RandomProjection, hamming, unpack


def clusters(seed: int = 0, count: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Eight clusters in eight of twenty directions, the rest is weaker noise: features [N, 20] and labels [N]."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).standard_normal((8, 20)) * (np.arange(20) < 8) * 2.0
    labels = rng.integers(8, size=count)
    return centres[labels] + 0.5 * rng.standard_normal((count, 20)), labels


def contrast(codes: np.ndarray, labels: np.ndarray) -> float:
    """Mean Hamming distance between clusters over that within."""
    distances = np.stack([hamming(codes, code) for code in codes[:100]])
    same = labels[None, :] == labels[:100, None]
    return float(distances[~same].mean() / distances[same].mean())


def test_learned_codes_separate_clusters_better_than_random_projections() -> None:
    features, labels = clusters()
    learned, projection = LearnedCodes(20, 8, 0), RandomProjection(20, 8, 0)
    for encoder in (learned, projection):
        encoder.fit(features)
    assert contrast(learned.encode(features), labels) > 1.2 * contrast(projection.encode(features), labels)


def test_projections_are_orthonormal() -> None:
    encoder = LearnedCodes(20, 8, 0)
    encoder.fit(clusters()[0])
    np.testing.assert_allclose(encoder._projection.T @ encoder._projection, np.eye(8), atol=1e-12)


def test_bits_keep_their_meaning_when_fitted_again() -> None:
    encoder = LearnedCodes(20, 8, 0)
    features = clusters()[0]
    encoder.fit(features)
    before = unpack(encoder.encode(features), 8)
    encoder.fit(clusters(seed=3)[0])
    assert (unpack(encoder.encode(features), 8) == before).mean() > 0.9


def test_state() -> None:
    features = clusters()[0]
    first, second = LearnedCodes(20, 8, 0), LearnedCodes(20, 8, 1)
    first.fit(features)
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(first.encode(features), second.encode(features))


def test_features_that_are_all_the_same_have_one_code() -> None:
    encoder = LearnedCodes(4, 3, 0)
    encoder.fit(np.ones((5, 4)))
    assert len(set(encoder.encode(np.ones((5, 4))).tolist())) == 1


def test_more_bits_than_features_are_refused() -> None:
    with pytest.raises(ValueError, match="bits=5"):
        LearnedCodes(4, 5, 0)
