from threading import Event
from typing import Any

import numpy as np
import pytest

from quantum_sampler.batches import make_engine
from quantum_sampler.selector import OptionError
from tests.quantum_sampler.batches.pools import excess, law_of


@pytest.mark.parametrize(
    ("name", "reads", "sweeps", "options"),
    [
        ("annealing", 30_000, 64, {}),
        ("annealing", 20_000, 32, {"constraints": "moves"}),
        pytest.param("path_integral", 3_000, 64, {}, marks=pytest.mark.slow),
    ],
)
def test_annealers_follow_the_exact_law(name: str, reads: int, sweeps: int, options: dict[str, Any]) -> None:
    """With infeasible samples dropped, total variation within 0.02 of the sampling floor at N = 16, k = 4."""
    law, rng = law_of(16, 4, 3), np.random.default_rng(0)
    engine = make_engine(name, reads=reads, sweeps=sweeps, options=options)
    members = engine.draw([law], 1, rng, Event())[0].members
    infeasible = engine.metrics()["infeasible"]
    assert len(members) == round(reads * (1 - infeasible))
    assert infeasible == 0 if options else 0.1 < infeasible < 0.6
    assert excess(law, members, rng) < 0.02


def test_repair_keeps_every_sample_and_stays_near_the_law() -> None:
    law, rng = law_of(10, 4, 3), np.random.default_rng(0)
    engine = make_engine("annealing", reads=10_000, sweeps=32, infeasible="repair")
    members = engine.draw([law], 1, rng, Event())[0].members
    assert len(members) == 10_000
    assert engine.metrics()["infeasible"] > 0.1
    assert engine.metrics()["repaired"] == round(10_000 * engine.metrics()["infeasible"])
    assert excess(law, members, rng) < 0.02


def test_a_backend_repairs_by_default_and_counts_it() -> None:
    rng = np.random.default_rng(0)
    for infeasible, kept in (("auto", True), ("drop", False)):
        engine: Any = make_engine("auto", reads=64, infeasible=infeasible, backend="dwave:mock")
        members = engine.draw([law_of(16, 4, 1)], 1, rng, Event())[0].members
        metrics, wrong = engine.metrics(), engine.metrics()["infeasible"]
        engine.close()
        assert 0.0 < wrong < 0.95  # of few chains and a weak penalty, some are right
        assert len(members) == (64 if kept else round(64 * (1 - wrong)))
        assert metrics.get("repaired") == (round(64 * wrong) if kept else None)


def test_samples_of_no_use_are_counted() -> None:
    law, rng = law_of(12, 4, temperature=1.0), np.random.default_rng(0)
    law.__dict__["qubo"] = type(law.qubo)(np.diag(np.full(12, 50.0)), cardinality=4)  # everybody wants out
    engine = make_engine("annealing", reads=8, sweeps=8, options={"penalty": 1e-6})
    assert engine.draw([law], 2, rng, Event())[0].members.shape == (0, 4)
    assert engine.metrics() == {"infeasible": 1.0, "without_reads": 1}


def test_qaoa_draws_batches_better_than_uniform_ones() -> None:
    law, rng = law_of(10, 3, 1), np.random.default_rng(0)
    engine = make_engine("qaoa", reads=2_000)
    members = engine.draw([law, law_of(10, 3, 2)], 1, rng, Event())[0].members
    assert engine.metrics()["infeasible"] == 0
    batches, chances = law.exact()
    chance = dict(zip(map(tuple, batches), chances, strict=True))
    assert np.mean([chance[tuple(np.sort(row))] for row in members]) > 2 * chances.mean()


def test_qaoa_refuses_what_it_cannot_simulate() -> None:
    engine = make_engine("qaoa")
    engine.check(16, 4)
    with pytest.raises(OptionError, match=r"replay.pool=64, batches of 8: .* 4,426,165,368 feasible states; up to"):
        engine.check(64, 8)


def test_a_mock_annealer_by_name() -> None:
    engine, rng = make_engine("auto", reads=64, infeasible="repair", backend="dwave:mock"), np.random.default_rng(0)
    laws = [law_of(12, 4, seed) for seed in range(2)]
    for reads in engine.draw(laws, 1, rng, Event()):
        assert reads.members.shape == (64, 4)
    assert "infeasible" in engine.metrics()
    with pytest.raises(OptionError, match=r"replay.pool=2000: dwave:mock takes pools of up to \d+ items"):
        engine.check(2000, 16)
    engine.close()


def test_giving_up_cancels_the_job() -> None:
    stop, rng = Event(), np.random.default_rng(0)
    stop.set()
    engine = make_engine("annealing", reads=4_000, sweeps=4_000)
    assert engine.draw([law_of(30, 4)], 1, rng, stop) == []
