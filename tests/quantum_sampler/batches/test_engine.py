import numpy as np
import pytest

from quantum_sampler.batches import ENGINES, Reads, drawn, make_engine
from quantum_sampler.batches.engine import filled
from quantum_sampler.selector import OptionError
from tests.quantum_sampler.batches.pools import law_of


def test_inclusion_is_exact_given_few_reads_of_any_law() -> None:
    """Three reads, two of them equal, and items that no read has: sum(g / inclusion) has the pool's sum as its mean."""
    rng, law = np.random.default_rng(0), law_of(6, 2)
    reads = Reads(np.array([[0, 1], [0, 1], [2, 5]]))
    g, draws = rng.normal(size=(6, 3)), 400_000
    draw = drawn(law, reads, draws, 0.3, rng)
    counted = np.bincount(draw.members.ravel(), minlength=6) / draws
    np.testing.assert_allclose(draw.inclusion[[0, 2, 3]], [0.7 * 2 / 3 + 0.1, 0.7 / 3 + 0.1, 0.1])
    np.testing.assert_allclose(counted, draw.inclusion, atol=4 * 0.5 / np.sqrt(draws))
    estimates = (g[draw.members] / draw.inclusion[draw.members][..., None]).sum(1)
    np.testing.assert_allclose(estimates.mean(0), g.sum(0), atol=4 * estimates.std(0).max() / np.sqrt(draws))


def test_batches_of_one_call_are_different_reads() -> None:
    rng, law = np.random.default_rng(0), law_of(40, 4)
    members = np.stack([rng.permutation(40)[:4] for _ in range(8)])
    draw = drawn(law, Reads(members), 8, 1e-12, rng)
    assert {tuple(row) for row in draw.members} == {tuple(row) for row in members}


def test_without_reads_batches_are_uniform() -> None:
    rng, law = np.random.default_rng(0), law_of(8, 3)
    draw = drawn(law, Reads(np.empty((0, 3), np.int64)), 40_000, 0.01, rng)
    np.testing.assert_allclose(draw.inclusion, 3 / 8)
    np.testing.assert_allclose(np.bincount(draw.members.ravel()) / 40_000, 3 / 8, atol=0.01)


def test_filled_keeps_what_it_can() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (500, 9)).astype(float)
    for row, members in zip(bits, filled(bits, 4, rng), strict=True):
        chosen = set(members)
        ones = set(np.flatnonzero(row))
        assert len(chosen) == 4
        assert chosen <= ones or ones <= chosen


@pytest.mark.parametrize("name", [name for name in ENGINES if name not in ("qaoa", "path_integral", "annealing")])
@pytest.mark.parametrize(("pool", "size"), [(1, 1), (2, 1), (6, 6), (30, 5)])
def test_every_engine_draws_sets(name: str, pool: int, size: int) -> None:
    from threading import Event

    engine, rng = make_engine(name, reads=16), np.random.default_rng(3)
    laws = [law_of(pool, size, seed) for seed in range(2)]
    for law, reads in zip(laws, engine.draw(laws, 3, rng, Event()), strict=True):
        assert reads.members.shape[1] == size
        assert all(len(set(row)) == size for row in reads.members)
        assert 0 <= reads.members.min() <= reads.members.max() < pool
        if reads.inclusion is not None:
            assert len(reads.members) == 3
            assert reads.inclusion.sum() == pytest.approx(size, rel=1e-9)
        draw = drawn(law, reads, 3, 0.1, rng)
        assert draw.inclusion.sum() == pytest.approx(size, rel=1e-9)
        assert draw.inclusion.min() >= 0.1 * size / pool - 1e-12
    engine.close()


def test_a_stopped_draw_ends_early() -> None:
    from threading import Event

    stop = Event()
    stop.set()
    assert make_engine("kawasaki").draw([law_of(8, 2)], 1, np.random.default_rng(0), stop) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "tabu"}, "replay.engine=tabu: no such engine (accepted: auto, annealing, "),
        ({"name": "kawasaki", "options": {"penalty": 1}}, "kawasaki takes none; annealing, path_integral, qaoa do"),
        ({"name": "dpp", "backend": "dwave:mock"}, "backend=dwave:mock: replay.engine=dpp runs on none"),
        ({"name": "annealing", "options": {"penalti": 1}}, "solver.penalti: no such option of annealing"),
        ({"name": "auto", "backend": "dwave:moc"}, "backend=dwave:moc"),
    ],
)
def test_what_is_refused(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message.replace("(", r"\(")) as raised:
        make_engine(**options)
    assert "\n" not in str(raised.value)
