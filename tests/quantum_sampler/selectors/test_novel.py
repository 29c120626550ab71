"""Novel replay: its law against a sum by hand, what it prefers, and which kernels are refused."""

from typing import Any

import numpy as np
import pytest

from hybrid_opt.overlaps import make_overlap
from quantum_sampler import make_selector
from quantum_sampler.codes.kernel import KernelCodes, kernel_similarity
from quantum_sampler.selector import OptionError
from quantum_sampler.selectors.novel import Novel, NovelConfig

ITEMS = 60
KERNELS = ("fidelity", "projected", "rbf", "laplace")


def features(seed: int = 0, width: int = 6) -> np.ndarray:
    """Most items in a heap, the last five apart from it, all in other directions."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(ITEMS, width)) * np.linspace(1.0, 0.2, width)
    rows[-5:] *= 4.0
    return rows.astype(np.float32)


@pytest.mark.parametrize("kernel", KERNELS)
def test_its_law(kernel: str) -> None:
    """By hand: components, mean overlaps with all items, standard scores, tilt and floor."""
    x, scores, seen = features(), np.linspace(0.5, 2.0, ITEMS), np.arange(ITEMS) != 7
    options = {"bandwidth": 0.7}
    config = NovelConfig(kernel=kernel, kernel_options=options, inducing=ITEMS, novelty=0.8, tilt=0.5, floor=0.2)
    law = Novel(config, 0, 6).law(x, seen, scores, np.random.default_rng(0))
    known = x[seen].astype(np.float64)
    centred = known - known.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    rows = left[:, :4] * np.sqrt(len(known))
    assert sizes[3] > 0
    novelty = -make_overlap(kernel, **options)(rows).mean(0)
    z = np.empty(ITEMS)
    z[seen] = np.clip((novelty - novelty.mean()) / novelty.std(), -3, 3)
    z[7] = z[seen].max()
    weights = np.exp(0.8 * z) * scores**0.5
    np.testing.assert_allclose(law, 0.8 * weights / weights.sum() + 0.2 / ITEMS, rtol=1e-9)
    assert law.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_lies_apart_is_drawn_more(kernel: str) -> None:
    """Counts follow the inclusions within 5 standard deviations, and the five come more than their share."""
    options = {"kernel": kernel, "inline": True, "plans": 50, "tilt": 0.0}
    selector = make_selector("novel", ITEMS, 0, 6, **options)
    selector.add(np.arange(ITEMS))
    selector.update(np.arange(ITEMS), np.ones(ITEMS), features())
    selector.select(8)
    counts, expected = np.zeros(ITEMS), np.zeros(ITEMS)
    for step in range(300):
        selector.prepare(step)
        batch = selector.select(8)
        if not batch.source.any():
            np.add.at(counts, batch.ids, 1)
            np.add.at(expected, batch.ids, 1 / batch.inclusion)
    assert counts.sum() > 8 * 250
    assert abs(expected.mean() / 290 - 1) < 0.1  # the mean of sum 1 / inclusion is the number of items
    assert counts[-5:].sum() / counts.sum() > 1.5 * 5 / ITEMS


def test_recall_by_a_kernel_marks_what_the_kernel_calls_alike() -> None:
    """Distances are (1 - k) bits, rounded down, against the kernel of the same components."""
    x = features(1)
    overlap = make_overlap("rbf", bandwidth=0.6)
    codes = KernelCodes(6, 20, overlap)
    codes.fit(x)
    rows = codes.encode(x)
    np.testing.assert_allclose(np.cov(rows.T, bias=True), np.eye(4), atol=1e-9)
    expected = np.floor((1 - np.exp(-0.36 * ((rows - rows[3]) ** 2).sum(1) / 4)) * 20 + 1e-9)
    np.testing.assert_array_equal(codes.distance(rows, rows[3]), expected)
    selector = make_selector("recall", 64, 0, 6, similarity="rbf", bits=20, radius=6, fit=8, neighbours=0, floor=0.1)
    selector.add(np.arange(ITEMS), features=x)
    selector.prepare(0)
    law = selector.select(8, x[3]).law(np.arange(ITEMS), 8)
    near = KernelCodes(6, 20, make_overlap("rbf"))
    near.fit(x)
    marked = near.distance(near.encode(x), near.encode(x)[3]) <= 6
    assert 0 < marked.sum() < ITEMS and law[marked].min() > law[~marked].max()


def test_a_batch_of_annealed_replay_repels_by_the_kernel() -> None:
    seen = np.arange(ITEMS) % 3 > 0
    overlap = make_overlap("fidelity")
    found = kernel_similarity(features(), seen, overlap)
    assert not found[~seen].any() and not found[:, ~seen].any() and not np.diag(found).any()
    np.testing.assert_allclose(found, found.T)
    assert found[np.ix_(seen, seen)].max() <= 1 and not kernel_similarity(features(), seen & False, overlap).any()


def test_equal_features_are_alike_and_not_novel() -> None:
    x, scores, seen = np.ones((ITEMS, 3), np.float32), np.ones(ITEMS), np.ones(ITEMS, bool)
    law = Novel(NovelConfig(), 0, 3).law(x, seen, scores, np.random.default_rng(0))
    np.testing.assert_allclose(law, 1 / ITEMS)


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("novel", {"kernel": "rbg"}, r"replay\.kernel=rbg: no such overlap.*rbf"),
        ("novel", {"kernel_options": {"bandwidth": -1}}, r"replay\.kernel_options\.bandwidth=-1"),
        ("novel", {"kernel_options": {"width": 1}}, r"replay\.kernel_options\.width"),
        ("novel", {"inducing": 0}, r"replay\.inducing=0"),
        ("recall", {"similarity": "cosine"}, r"replay\.similarity=cosine: no such overlap"),
        ("recall", {"kernel_options": {"bandwidth": 2.0}}, r"replay\.kernel_options=.* similarity=fidelity"),
        ("annealed", {"similarity": "codes"}, r"replay\.similarity=codes: no such overlap"),
        ("annealed", {"kernel_options": {"bandwidth": 2.0}}, r"replay\.kernel_options=.* similarity=fidelity"),
        ("novel", {"kernel_options": {"encoding": "angle_xyz"}}, r"replay\.kernel_options\.encoding=angle_xyz"),
    ],
)
def test_wrong_options_are_one_line(name: str, options: dict[str, Any], line: str) -> None:
    with pytest.raises(OptionError, match=line) as caught:
        make_selector(name, 64, 0, 6, **options)
    assert "\n" not in str(caught.value)
