import numpy as np
import pytest

from quantum_sampler import make_selector
from quantum_sampler.selectors.mixture import Mixture


def filled(components: dict[str, dict[str, object]], **options: object) -> Mixture:
    selector = make_selector("mixture", 32, seed=0, components=components, **options)
    selector.add(np.arange(30), np.arange(30.0) ** 2)
    assert isinstance(selector, Mixture)
    return selector


def test_inclusion_is_summed_over_the_components() -> None:
    """Against the closed forms: B u / N + B v p_i + 1 for the items that wait, whichever component drew the item."""
    selector = filled({"uniform": {"share": 2}, "prioritized": {"share": 5, "alpha": 1.0}, "fresh": {"share": 1}})
    p = np.arange(30.0) ** 2 + 0.01
    p /= p.sum()
    batch = selector.select(16)
    inclusion = 4 / 30 + 10 * p + (np.arange(30) < 2)
    np.testing.assert_allclose(batch.law(np.arange(30), 16), inclusion, rtol=1e-12)
    np.testing.assert_allclose(batch.inclusion, inclusion[batch.ids], rtol=1e-12)
    np.testing.assert_allclose(batch.weight, 16 / (30 * inclusion[batch.ids]), rtol=1e-12)
    assert batch.source.tolist() == [0] * 4 + [1] * 10 + [2] * 2
    assert batch.ids[14:].tolist() == [0, 1]


def test_component_weights() -> None:
    selector = filled(
        {"prioritized": {"share": 3, "alpha": 1.0}, "fresh": {"share": 1}},
        correction="component",
    )
    p = np.arange(30.0) ** 2 + 0.01
    p /= p.sum()
    batch = selector.select(16)
    np.testing.assert_allclose(batch.weight[:12], 1 / (30 * p[batch.ids[:12]]), rtol=1e-12)
    np.testing.assert_array_equal(batch.weight[12:], 1.0)


@pytest.mark.parametrize("batch_size", [3, 16])
def test_shares_are_kept_for_any_batch_size(batch_size: int) -> None:
    """Counts are one of the two neighbours of share x B, and share x B on average: within 5 sigma of 1,500 batches."""
    shares = np.array([0.15, 0.05, 0.6, 0.2])
    selector = filled({f"part{i}": {"selector": "uniform", "share": share} for i, share in enumerate(shares)})
    counts = np.array([np.bincount(selector.select(batch_size).source, minlength=4) for _ in range(1500)])
    exact = shares * batch_size
    assert (np.abs(counts - exact) < 1.0).all()
    assert (np.abs(counts.mean(axis=0) - exact) < 5 * 0.5 / np.sqrt(1500) + 1e-12).all()
    metrics = selector.metrics()
    np.testing.assert_allclose([metrics[f"part{i}/share"] for i in range(4)], counts.sum(axis=0) / counts.sum())


def test_sources_of_a_mixture_in_a_mixture() -> None:
    inner = {"selector": "mixture", "share": 3, "components": {"uniform": {"share": 1}, "curious": {"share": 1}}}
    selector = filled({"fresh": {"share": 1}, "main": inner})
    assert selector.sources == ("fresh", "main/uniform", "main/curious")
    assert selector.select(8).source.tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    metrics = selector.metrics()
    assert metrics["main/curious/priority_mean"] > 0
    assert metrics["items"] == 30


def test_equal_components_draw_differently() -> None:
    selector = filled({"a": {"selector": "uniform", "share": 1}, "b": {"selector": "uniform", "share": 1}})
    ids = selector.select(40).ids
    assert ids[:20].tolist() != ids[20:].tolist()
