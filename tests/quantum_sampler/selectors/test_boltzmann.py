"""The replay law of free energies: what is drawn, how often, and what it costs to be wrong."""

import io
import time
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from hybrid_opt.errors import TransientError
from hybrid_opt.problem.quadratic import Bits
from hybrid_opt.problem.qubo import Qubo
from quantum_sampler.codes.projection import pack
from quantum_sampler.selector import OptionError
from quantum_sampler.selectors.base.planned import make_planned
from quantum_sampler.selectors.boltzmann import Boltzmann, BoltzmannConfig, held_out

FEATURES, COMMON = 8, 270
SMALL = {"bits": 8, "hidden": 4, "steps": 20, "inline": True, "learning_rate": 0.1, "every": 4}


def make(seed: int = 0, capacity: int = 512, feature_dim: int = FEATURES, **options: Any) -> Any:
    config = BoltzmannConfig(**{**SMALL, **options})
    return make_planned(Boltzmann(config, [seed], feature_dim), config, capacity, [seed], feature_dim)


def features(count: int, rare: int = 0, seed: int = 3) -> np.ndarray:
    """Two clusters, and the last `rare` of them in a third."""
    rng = np.random.default_rng(seed)
    centres = 3.0 * np.random.default_rng(1).standard_normal((3, FEATURES))
    labels = np.concatenate([rng.integers(2, size=count - rare), np.full(rare, 2)])
    return (centres[labels] + 0.3 * rng.standard_normal((count, FEATURES))).astype(np.float32)


def filled(seed: int = 0, items: int = 300, rare: int = 30, losses: float = 1.0, **options: Any) -> Any:
    """The items from 270 on are of the third cluster."""
    selector = make(seed, **options)
    selector.add(np.arange(items))
    selector.update(np.arange(items), np.full(items, losses), features(items, rare))
    return selector


def planned(selector: Any, batch_size: int = 8) -> Any:
    """A batch of a plan."""
    selector.select(batch_size)
    selector.prepare(0)
    batch = selector.select(batch_size)
    assert not batch.source.any()
    return batch


def law_of(selector: Any, count: int) -> np.ndarray:
    """p [N] by the formula, from the machine and the scores as they are."""
    view, config = selector._view(np.arange(count)), selector._config
    model, seen = view.learned, view.seen
    assert model is not None
    energies = model.machine.free_energy(model.encoder.encode(view.features[seen]))
    z = np.clip((energies - energies.mean()) / energies.std(), -config.clip, config.clip)
    novelty = np.full(count, z.max())
    novelty[seen] = z
    weights = np.exp(config.novelty * novelty) * view.scores**config.tilt
    return np.asarray((1 - config.floor) * weights / weights.sum() + config.floor / count)


@pytest.mark.parametrize("machine", ["semi_quantum", "rbm", "transverse"])
@pytest.mark.parametrize("binarisation", ["projection", "learned"])
def test_inclusion_is_that_of_the_replay_law(machine: str, binarisation: str) -> None:
    selector = filled(machine=machine, binarisation=binarisation, bits=6, hidden=2, novelty=0.7, floor=0.2, tilt=0.5)
    selector.update([5, 6], [9.0, 100.0])
    selector.add([300])  # never visited
    batch = planned(selector)
    law = law_of(selector, 301)
    assert law.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(batch.inclusion, 8 * law[batch.ids], rtol=1e-9)
    np.testing.assert_allclose(batch.weight, 1 / (301 * law[batch.ids]), rtol=1e-9)
    np.testing.assert_allclose(batch.law(np.arange(301), 8), 8 * law, rtol=1e-9)
    scores = selector._view(np.arange(301)).scores
    assert law[300] == law[np.flatnonzero(scores == scores[300])].max()


def test_items_are_drawn_as_often_as_the_law_says() -> None:
    """20 plannings of 100 batches of 10 on the same machine: counts against p, chi-squared."""
    selector = filled(items=60, rare=6, plans=100, every=10**6)
    planned(selector, 10)
    law, counts = law_of(selector, 60), np.zeros(60)
    for _ in range(20):
        selector._plans.clear()
        selector.prepare(0)
        for _, plan in selector._plans:
            counts += np.bincount(plan.ids, minlength=60)
    assert counts.sum() == 20_000
    # Strata only lower the variance.
    assert ((counts - 20_000 * law) ** 2 / (20_000 * law)).sum() < 59 + 5 * np.sqrt(2 * 59)


def test_weighted_means_are_those_of_the_buffer_from_a_pool_too() -> None:
    """A pool of 64 of 300 items: 400 plannings, the mean of g against 5 standard errors."""
    g = np.random.default_rng(5).exponential(size=300)
    selector = filled(pool=64, plans=1, every=10**6, stratified=False)
    estimates = []
    for _ in range(400):
        batch = planned(selector)
        selector._plans.clear()
        estimates.append((batch.weight * g[batch.ids]).mean())
        assert np.sum(batch.inclusion) <= 300
    assert np.mean(estimates) == pytest.approx(g.mean(), abs=5 * np.std(estimates) / 20)


def test_rare_items_are_replayed_more_and_novelty_says_how_much() -> None:
    shares = {}
    for novelty in (-1.0, 0.0, 1.0):
        selector = filled(novelty=novelty, steps=100, floor=0.0, binarisation="learned")
        planned(selector)
        shares[novelty] = law_of(selector, 300)[COMMON:].sum()
    assert shares[-1.0] < 0.07 < shares[0.0] < 0.13 < 0.2 < shares[1.0]


def test_tilt_zero_ignores_priorities_and_floor_one_everything() -> None:
    selector = filled(tilt=0.0, novelty=0.0)
    selector.update([7], [1e6])
    np.testing.assert_allclose(planned(selector).inclusion, 8 / 300)
    selector = filled(floor=1.0)
    selector.update([7], [1e6])
    np.testing.assert_allclose(planned(selector).inclusion, 8 / 300)


def test_no_plan_without_features() -> None:
    selector = make()
    selector.add(np.arange(100))
    selector.update(np.arange(31), np.ones(31), features(31))
    for _ in range(3):
        assert selector.select(4).source.all()
        selector.prepare(0)
    assert "trainings" not in selector.metrics()
    selector.update([31], [1.0], features(1))
    selector.prepare(0)
    assert not selector.select(4).source.any()


def test_trains_every_so_many_prepares_and_says_so() -> None:
    selector = filled(every=4, plans=1)
    trainings = []
    for step in range(9):
        selector.select(8)
        selector.prepare(step)
        trainings.append(selector.metrics()["trainings"])
    assert trainings[0] == 1 and trainings[-1] == 3
    metrics = selector.metrics()
    assert metrics["log_likelihood"] > metrics["log_likelihood_independent"] - 1.0
    assert all(np.isfinite(value) for value in metrics.values())


def test_the_machine_beats_independent_bits_on_items_that_it_never_saw() -> None:
    selector = filled(items=400, rare=40, steps=400)
    planned(selector)
    metrics = selector.metrics()
    assert metrics["log_likelihood"] > metrics["log_likelihood_independent"] + 0.5


def test_a_tenth_is_held_out_for_good() -> None:
    ids = np.arange(200_000)
    held = held_out(ids)
    assert held.mean() == pytest.approx(0.1, abs=0.002)
    blocks = held.reshape(-1, 100).sum(1)
    assert blocks.min() >= 5 and blocks.max() <= 15
    np.testing.assert_array_equal(held_out(ids[1000:2000]), held[1000:2000])


def run(selector: Any, steps: int) -> list[Any]:
    seen: list[Any] = []
    for step in range(steps):
        batch = selector.select(5)
        selector.update(batch.ids, 1.0 + batch.ids % 3, features(5, seed=step))
        selector.prepare(step)
        seen += [batch.ids.tolist(), batch.inclusion.tolist(), selector.metrics()]
    return seen


@pytest.mark.parametrize(
    "options", [{}, {"machine": "transverse", "bits": 6, "hidden": 1}, {"binarisation": "learned"}]
)
def test_state_continues_exactly(options: dict[str, Any]) -> None:
    selector = filled(plans=2, **options)
    run(selector, 6)
    file = io.BytesIO()
    torch.save(selector.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    continued = run(selector, 9)
    other = filled(seed=0, items=10, rare=0, plans=2, **options)
    other.load_state_dict(state)
    assert run(other, 9) == continued


def test_state_before_any_training() -> None:
    selector = make()
    selector.load_state_dict(make().state_dict())
    selector.add([0])
    assert selector.select(2).ids.tolist() == [0, 0]


def test_plans_in_the_background() -> None:
    selector = filled(inline=False)
    begin = time.monotonic()
    while selector.select(8).source.all():
        selector.prepare(0)
        time.sleep(0.01)
        assert time.monotonic() - begin < 60
    assert selector.metrics()["trainings"] == 1
    selector.close()


@pytest.mark.parametrize(
    ("options", "remote", "limited"),
    [
        ({"overhead": 1e-6, "inline": False}, False, True),
        ({"overhead": None, "inline": False}, False, False),
        ({"overhead": 1e-6, "inline": False}, True, False),  # its work is done elsewhere
        ({"overhead": 1e-6, "inline": True}, False, False),  # repeatable
    ],
)
def test_trainings_wait_where_they_would_take_too_much_of_this_machine(
    options: dict[str, Any], remote: bool, limited: bool
) -> None:
    selector = filled(backend="dwave:mock", steps=1, chains=16, every=1, plans=1, **options)
    assert selector.planner._reader is not None and not selector.planner._reader.remote
    selector.planner._reader.remote = remote
    begin, planned = time.monotonic(), 0
    while planned < 4:
        planned += not selector.select(8).source.any()
        selector.prepare(0)
        time.sleep(0.005)
        assert time.monotonic() - begin < 60
    assert (selector.metrics()["trainings"] == 1) == limited
    selector.close()


class Broken:
    """A reader of random reads whose calls fail as told."""

    annealer = True
    remote = False

    def __init__(self, failing: set[int]) -> None:
        self.calls, self.failing = 0, failing

    def read(self, qubo: Qubo, seed: int, start: Bits | None = None) -> Bits:
        self.calls += 1
        if self.calls in self.failing:
            raise TransientError("the queue is full")
        return np.random.default_rng(seed).integers(2, size=(16, qubo.n)).astype(np.uint8)

    def close(self) -> None:
        self.calls = -1


def test_steps_that_fail_are_counted_and_left_out() -> None:
    selector = filled(machine="transverse", steps=6)
    selector.planner._reader = Broken({1, 2, 5})
    planned(selector)
    assert selector.metrics()["failed_steps"] == 3
    assert selector.metrics()["beta"] > 0


def test_a_first_training_that_fails_altogether_is_a_failed_planning() -> None:
    selector = filled(machine="transverse", steps=3)
    selector.planner._reader = reader = Broken({1, 2, 3})
    selector.select(8)
    with pytest.warns(RuntimeWarning, match="the queue is full"):
        selector.prepare(0)
    assert selector.select(8).source.all()
    assert selector.metrics()["plan_failures"] == 1
    selector.close()
    assert reader.calls == -1


def test_batches_are_planned_by_the_last_machine_while_the_backend_fails() -> None:
    selector = filled(machine="transverse", steps=3, every=1, plans=1)
    selector.planner._reader = Broken(set(range(4, 100)))
    planned(selector)
    for _ in range(4):
        planned(selector)
    assert selector.metrics()["trainings"] == 1
    assert selector.metrics()["failed_steps"] >= 12
    assert selector.metrics()["plan_failures"] == 0


def test_a_mock_of_an_annealer_trains_the_machine_by_default() -> None:
    selector = filled(backend="dwave:mock", steps=3, chains=16)
    planned(selector)
    assert selector.metrics()["trainings"] == 1
    assert 0.01 <= selector.metrics()["beta"] <= 100
    selector.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"binarisation": "learned", "bits": 9}, r"replay.bits=9: .* 8"),
        ({"machine": "rbm", "hidden": 0}, "replay.hidden=0"),
        ({"backend": "nonsense"}, "replay.backend=nonsense"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make(**options)


@pytest.mark.parametrize("machine", ["semi_quantum", "rbm"])
def test_machines_that_run_on_no_backend_are_refused_before_one_is_opened(machine: str) -> None:
    with pytest.raises(ValidationError, match="runs on no backend"):
        BoltzmannConfig(machine=machine, backend="dwave:mock")  # type: ignore[arg-type]


def test_features_that_are_all_the_same_leave_the_priorities() -> None:
    selector = make(novelty=5.0, floor=0.0)
    selector.add(np.arange(50))
    selector.update(np.arange(50), np.arange(50.0), np.ones((50, FEATURES), np.float32))
    batch = planned(selector)
    scores = (np.arange(50) + 0.01) ** 0.6
    np.testing.assert_allclose(batch.inclusion, 8 * (scores / scores.sum())[batch.ids], rtol=1e-9)


def test_codes_are_what_the_machine_sees() -> None:
    selector = filled(binarisation="learned", bits=3)
    planned(selector)
    model = selector._learned
    assert model is not None
    codes = model.encoder.encode(features(300, 30))
    assert codes.max() < 8 and codes.dtype == pack(np.zeros((1, 3))).dtype
    np.testing.assert_allclose(model.energies(features(300, 30)), model.machine.free_energy(codes))


def test_without_training_the_machine_stays_as_random_as_it_began() -> None:
    selector = filled(machine="rbm", steps=0, every=1, learning_rate=0.02)
    planned(selector)
    assert selector._learned is not None
    for key, value in selector.planner._make_machine().parameters.items():
        np.testing.assert_array_equal(selector._learned.machine.parameters[key], value)
    assert planned(selector).source[0] == 0
