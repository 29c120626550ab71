"""The markov selector against its exact law."""

from typing import Any

import numpy as np
import pytest

from quantum_sampler.chains.ising_fit import fit_ising
from quantum_sampler.chains.quantum_proposal import QuantumProposal
from quantum_sampler.codes.distribution import CodeLaw
from quantum_sampler.codes.projection import RandomProjection
from quantum_sampler.selector import Floats, OptionError, Probe
from quantum_sampler.selectors.base.planned import make_planned
from quantum_sampler.selectors.markov import Markov, MarkovConfig

PROPOSALS = ["quantum", "local", "uniform", "tempering", "direct"]
ITEMS, SEEN, BITS, FEATURES = 60, 45, 4, 5


def config(**options: Any) -> MarkovConfig:
    return MarkovConfig(**{"bits": BITS, "inline": True, "chains": 8, **options})


def empty(capacity: int = 64, seed: int = 0, probe: Probe | None = None, **options: Any) -> Any:
    given = config(**options)
    return make_planned(Markov(given, seed, FEATURES), given, capacity, seed, FEATURES, probe)


def filled(**options: Any) -> Any:
    """60 items, of which 45 have features in clusters, and losses over an order of magnitude."""
    selector = empty(**options)
    selector.add(np.arange(ITEMS))
    rng = np.random.default_rng(1)
    features = rng.normal(size=(4, FEATURES))[rng.integers(4, size=SEEN)] + 0.5 * rng.normal(size=(SEEN, FEATURES))
    selector.update(np.arange(SEEN), np.exp(rng.normal(size=SEEN)), features.astype(np.float32))
    return selector


def expected_law(selector: Any, novelty: float, tilt: float, floor: float) -> Floats:
    """p [ITEMS] from the definitions: codes of the projection, an Ising fit, and sums over the items one by one."""
    view = selector._view(np.arange(ITEMS))
    scores, features = view.scores, view.features[:SEEN]
    projection = RandomProjection(FEATURES, BITS, selector.planner._projection_seed)
    projection.fit(features)
    codes = projection.encode(features).astype(int)
    energies = fit_ising(np.bincount(codes, minlength=16).astype(float), 0.01).energies()[codes]
    z = np.clip((energies - energies.mean()) / energies.std(), -3, 3)
    raised = np.exp(novelty * z) * scores[:SEEN] ** tilt
    law = floor * scores / scores.sum()
    law[:SEEN] += (1 - floor) * raised / raised.sum()
    return np.asarray(law)


@pytest.mark.parametrize("proposal", PROPOSALS)
def test_items_come_by_the_exact_law(proposal: str) -> None:
    """600 batches of 8: inclusion is B p; items are drawn as often as it says, to 5 standard errors of draws that are
    worth one in the measured autocorrelation time."""
    options = {"novelty": 0.7, "tilt": 0.5, "floor": 0.2}
    plans = 600
    selector = filled(proposal=proposal, plans=plans, max_age=plans, thin=6, burn_in=100, **options)
    law = expected_law(selector, **options)
    assert law.sum() == pytest.approx(1.0)
    drawn = np.zeros(ITEMS)
    selector.select(8)  # the first has no plan
    for _ in range(plans):
        selector.prepare(0)
        batch = selector.select(8)
        assert batch.source[0] == 0
        assert np.allclose(batch.inclusion, 8 * law[batch.ids], rtol=1e-6)
        np.add.at(drawn, batch.ids, 1)
    np.testing.assert_allclose(batch.weight, 8 / (ITEMS * batch.inclusion))
    np.testing.assert_allclose(batch.law(np.arange(ITEMS), 5), 5 * law, rtol=1e-6)
    time = max(1.0, selector.metrics()["autocorrelation"] / 6)
    error = np.sqrt(law * (1 - law) * time / drawn.sum())
    assert (np.abs(drawn / drawn.sum() - law) < 5 * error).all()


def test_weighted_batches_have_the_mean_of_the_buffer() -> None:
    selector = filled(proposal="quantum", plans=600, max_age=600)
    values = np.random.default_rng(2).normal(2.0, 1.0, ITEMS)
    selector.select(8)
    selector.prepare(0)
    means = []
    for _ in range(600):
        batch = selector.select(8)
        means.append(np.mean(batch.weight * values[batch.ids]))
    assert abs(np.mean(means) - values.mean()) < 5 * np.std(means) / np.sqrt(len(means))


def test_without_novelty_it_is_prioritised_replay() -> None:
    """tilt 1, novelty 0: every item by its score; so whatever the codes are, they do not matter."""
    law = expected_law(filled(), novelty=0.0, tilt=1.0, floor=0.1)
    scores = filled()._view(np.arange(ITEMS)).scores
    seen = scores[:SEEN] / scores[:SEEN].sum()
    np.testing.assert_allclose(law[:SEEN], 0.9 * seen + 0.1 * scores[:SEEN] / scores.sum())


@pytest.mark.parametrize("present", [1, 5, 16])
def test_code_law_adds_up(present: int) -> None:
    """Over items and over codes, with codes that are missing, with one code alone and with all of them."""
    rng = np.random.default_rng(3)
    codes = np.concatenate([np.arange(present), rng.integers(present, size=20)])
    scores = rng.uniform(0.1, 2.0, codes.size + 6)
    law = CodeLaw(codes, scores, rng.normal(size=16), config(floor=0.25))
    assert law.inclusion(np.arange(scores.size), 3).sum() == pytest.approx(3.0)
    assert np.exp(law.log_law).sum() == pytest.approx(1.0)
    assert law.codes == present
    states = np.random.default_rng(4).choice(16, 200_000, p=np.exp(law.log_law))
    drawn = np.bincount(law.items(states, rng), minlength=scores.size) / states.size
    p = law.inclusion(np.arange(scores.size), 1)
    assert (np.abs(drawn - p) < 5 * np.sqrt(p / states.size)).all()


def test_novelty_brings_rare_codes() -> None:
    """Of 61 equal items one has a code that breaks the pattern of the others: it comes more often with more novelty."""
    codes = np.array([0b0000] * 30 + [0b1111] * 30 + [0b0101])
    energies = fit_ising(np.bincount(codes, minlength=16).astype(float), 0.01).energies()
    found = [
        CodeLaw(codes, np.ones(61), energies, config(novelty=novelty, floor=0.1)).inclusion(np.array([60]), 1)[0]
        for novelty in (-0.5, 0.0, 0.5, 1.0)
    ]
    assert found[1] == pytest.approx(1 / 61)
    assert found[3] > 2 * found[2] > 4 * found[1] > 8 * found[0] > 0


def test_a_state_continues_exactly() -> None:
    def run(selector: Any, steps: int) -> list[Any]:
        seen: list[Any] = []
        for step in range(steps):
            selector.prepare(step)
            batch = selector.select(8)
            selector.update(batch.ids, 1.0 + batch.ids % 5 + step, np.outer(np.sin(batch.ids + step), np.arange(5.0)))
            seen += [batch.ids.tolist(), batch.inclusion.tolist(), batch.plan_age]
        return [*seen, selector.metrics()]

    for proposal in ("quantum", "tempering"):
        first = filled(proposal=proposal, plans=4, every=2)
        run(first, 13)
        again = empty(proposal=proposal, plans=4, every=2, seed=99)
        again.load_state_dict(first.state_dict())
        assert run(first, 20) == run(again, 20)


def test_a_pool_is_a_stage_of_the_inclusion() -> None:
    """With a pool of 20 of 60 items: E[sum 1 / inclusion] is the number of items, over many plannings."""
    selector = filled(proposal="direct", pool=20, plans=1, every=1)
    selector.select(8)
    sums = []
    for step in range(600):
        selector.prepare(step)
        batch = selector.select(8)
        assert batch.source[0] == 0
        sums.append((1 / batch.inclusion).sum())
    assert abs(np.mean(sums) - ITEMS) < 5 * np.std(sums) / np.sqrt(len(sums))


def test_nothing_is_planned_before_there_are_features() -> None:
    selector = empty(capacity=8)
    selector.add(np.arange(8))
    for step in range(3):
        selector.select(4)
        selector.prepare(step)
    assert selector.metrics()["fallback_rate"] == 1.0
    selector.update([3], [2.0], np.ones((1, FEATURES), np.float32))
    selector.prepare(3)
    batch = selector.select(4)  # one code, held by one item; the others come by their scores
    assert batch.source.tolist() == [0] * 4
    assert batch.law(np.arange(8), 4).sum() == pytest.approx(4.0)


def test_threads_plan_and_metrics_say_how_well() -> None:
    selector = filled(inline=False, plans=4)
    selector.select(8)
    selector.prepare(0)
    assert selector._job is not None
    selector._job.result(timeout=60)
    selector.prepare(1)
    assert selector.select(8).source[0] == 0
    metrics = selector.metrics()
    assert 0 < metrics["acceptance"] <= 1
    assert metrics["autocorrelation"] > 0
    assert 1 < metrics["codes"] <= 16
    assert metrics["code_log_likelihood"] > -BITS * np.log(2)  # better than the uniform law
    selector.close()


def test_fresh_loss_is_logged() -> None:
    losses = np.random.default_rng(6).uniform(1.0, 3.0, ITEMS)
    options = {"fresh_every": 2, "fresh_queries": 300, "fresh_method": "amplitude"}
    selector = empty(probe=lambda ids: losses[ids], **options)
    selector.add(np.arange(ITEMS))
    selector.prepare(0)
    assert "fresh_loss" not in selector.metrics()
    selector.prepare(1)
    metrics = selector.metrics()
    assert abs(metrics["fresh_loss"] - losses.mean()) < 5 * metrics["fresh_loss_error"]
    assert (metrics["fresh_loss_queries"], metrics["fresh_loss_probes"]) == (300, ITEMS)


def test_it_needs_features() -> None:
    with pytest.raises(OptionError, match="feature_dim=0: markov needs features"):
        Markov(config(), 0, 0)


@pytest.mark.parametrize("options", [{"bits": 13}, {"gammas": (0.6, 0.2)}, {"floor": 0.0}, {"proposal": "warp"}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        config(**options)


@pytest.mark.parametrize("hamiltonian", ["product", "shuffled"])
def test_controls_of_the_proposal(hamiltonian: str) -> None:
    """Without couplings the proposal is a product over the bits; permuted energies have the same values. Either is
    symmetric, so that the law stays."""
    selector = filled(hamiltonian=hamiltonian, plans=1)
    selector.select(8)
    selector.prepare(0)
    machine = selector._learned.machine
    energies = selector.planner._evolved(machine)
    matrix = QuantumProposal(energies).matrix(0.4, 5.0)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    if hamiltonian == "shuffled":
        np.testing.assert_array_equal(np.sort(energies), np.sort(machine.energies()))
        assert not np.allclose(energies, machine.energies())
        return
    product = np.ones((1, 1))
    for bit in range(BITS):  # bit 0 is the last factor
        flipped = matrix[0, 1 << bit] / (matrix[0, 0] + matrix[0, 1 << bit])
        product = np.kron(np.array([[1 - flipped, flipped], [flipped, 1 - flipped]]), product)
    np.testing.assert_allclose(matrix, product, atol=1e-10)
