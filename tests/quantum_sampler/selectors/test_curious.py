import numpy as np

from quantum_sampler import make_selector


def test_score_is_that_of_the_paper() -> None:
    """c beta^visits + (loss + epsilon)^alpha, and 1e5 before the first visit (Kauvar et al., arXiv 2306.15934)."""
    selector = make_selector("curious", 8, seed=0)
    selector.add(np.arange(4))
    selector.update([1, 2, 2], [0.5, 9.0, 2.0])
    selector.update([2], [3.0])
    selector.add([4], priorities=[7.0])
    score = np.array(
        [
            1e5,
            1e4 * 0.7 + 0.51**0.7,
            1e4 * 0.7**2 + 3.01**0.7,  # repeats in a batch are one visit
            1e5,
            1e4 + 7.01**0.7,
        ]
    )
    batch = selector.select(32)
    np.testing.assert_allclose(batch.inclusion, 32 * (score / score.sum())[batch.ids], rtol=1e-12)
    np.testing.assert_array_equal(batch.weight, 1.0)
    assert selector.metrics()["visits_mean"] == 3 / 5


def test_visits_belong_to_the_item_not_to_the_slot() -> None:
    selector = make_selector("curious", 2, seed=0)
    selector.add([0, 1])
    for _ in range(20):
        selector.update([0, 1], [1.0, 1.0])
    selector.add([2])  # takes the slot of 0
    selector.update([2, 0], [1.0, 1.0])
    law = selector.select(1).law(np.array([2, 1]), 1)
    new, old = 1e4 * 0.7 + 1.01**0.7, 1e4 * 0.7**20 + 1.01**0.7
    np.testing.assert_allclose(law, np.array([new, old]) / (new + old))
