import numpy as np
import pytest

from quantum_sampler import make_selector


def test_probability_and_weight_are_those_of_the_paper() -> None:
    """p = (loss + epsilon)^alpha / sum, weight = (1 / (N p))^beta (Schaul et al., equations 1 and section 3.4)."""
    losses = np.array([0.0, 0.5, 3.0, 40.0])
    selector = make_selector("prioritized", 4, seed=0, alpha=0.7, epsilon=0.1, weight_exponent=0.4)
    selector.add(np.arange(4), losses)
    p = (losses + 0.1) ** 0.7
    p /= p.sum()
    batch = selector.select(50)
    np.testing.assert_allclose(batch.inclusion, 50 * p[batch.ids], rtol=1e-12)
    np.testing.assert_allclose(batch.weight, (1 / (4 * p[batch.ids])) ** 0.4, rtol=1e-12)


def test_unvisited_items_have_the_largest_loss_seen() -> None:
    selector = make_selector("prioritized", 8, seed=0, alpha=1.0, epsilon=1e-9)
    selector.add([0, 1, 2])
    selector.update([0], [30.0])  # the first loss: 1 and 2 are still unvisited
    selector.add([3])
    selector.update([0], [10.0])
    selector.add([4])
    law = selector.select(1).law(np.arange(5), 1)
    np.testing.assert_allclose(law, np.array([10, 30, 30, 30, 30]) / 130)


def test_alpha_zero_is_uniform() -> None:
    selector = make_selector("prioritized", 100, seed=0, alpha=0.0)
    selector.add(np.arange(100), np.arange(100.0))
    batch = selector.select(32)
    np.testing.assert_allclose(batch.inclusion, 0.32)
    np.testing.assert_allclose(batch.weight, 1.0)
    assert selector.metrics()["effective_sample_size"] == pytest.approx(100)


def test_metrics() -> None:
    selector = make_selector("prioritized", 100, seed=0, alpha=1.0, epsilon=1e-12)
    selector.add(np.arange(4), [1.0, 1.0, 2.0, 4.0])
    metrics = selector.metrics()
    assert metrics["priority_mean"] == pytest.approx(2.0)
    assert metrics["priority_max"] == pytest.approx(4.0)
    assert metrics["effective_sample_size"] == pytest.approx(64 / 22)
