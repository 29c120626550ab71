"""Amplitude estimation against exact sums, Qiskit, and the errors that it states."""

from itertools import pairwise

import numpy as np
import pytest

from quantum_sampler.amplitude.estimation import (
    Method,
    effective_sample_size,
    estimate_amplitude,
    estimate_mean,
    likeliest,
    partition_ratio,
    powers,
    probed,
)
from quantum_sampler.amplitude.fresh_loss import FreshLoss
from quantum_sampler.selector import Floats, Ids, OptionError

LOSSES = np.random.default_rng(0).gamma(0.8, 1.3, 500)
METHODS: list[Method] = ["amplitude", "monte_carlo", "stratified"]
methods = pytest.mark.parametrize("method", METHODS)


def losses(indices: Ids) -> Floats:
    return np.asarray(LOSSES[indices])


@pytest.mark.parametrize("queries", [1, 31, 32, 127, 128, 1000, 65_824])
def test_schedule_takes_exactly_the_queries(queries: int) -> None:
    m, counts = powers(queries)
    assert (counts * (2 * m + 1)).sum() == queries
    assert m.tolist() == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512][: m.size]
    assert queries < 32 or counts.min() >= 32
    assert 32 * ((2 * m + 1).sum() + max(3, 4 * m[-1] + 1)) > queries  # no more powers could have been had


def test_maximum_is_that_of_a_fine_grid() -> None:
    """100,000 places, for all amplitudes and short and long schedules, unlucky measurements included."""
    rng = np.random.default_rng(1)
    grid = (np.arange(100_000) + 0.5) * np.pi / 2 / 100_000
    for trial in range(25):
        m, counts = powers(int(10 ** rng.uniform(0.5, 3.2)))
        theta = np.pi / 2 * rng.random() ** 2
        hits = rng.binomial(counts, np.sin((2 * m + 1) * theta) ** 2)
        if trial % 5 == 0:
            hits = rng.binomial(counts, rng.random(m.size))  # of no theta at all
        likelihood = np.zeros(grid.size)
        for power, count, hit in zip(m, counts, hits, strict=True):
            chance = np.sin((2 * power + 1) * grid) ** 2
            likelihood += hit * np.log(chance) + (count - hit) * np.log1p(-chance)
        found = likeliest(m, counts, hits)
        place = min(grid.size - 1, int(found / np.pi * 2 * grid.size))
        best = likelihood.max()
        near = likelihood[max(0, place - 1) : place + 2].max()
        assert trial % 5 == 0 or near >= best - 1e-2  # an absurd outcome may have its maximum where it was given up


@pytest.mark.parametrize("a", [0.0, 1.0])
def test_amplitudes_at_the_ends(a: float) -> None:
    value, error = estimate_amplitude(a, 2000, np.random.default_rng(0))
    assert value == pytest.approx(a, abs=1e-5)
    assert 0.0 < error < 1e-3


def test_measurements_are_those_of_the_circuit() -> None:
    """Four items on two qubits, f on a third: |1> after m Grover iterations, by qiskit, has sin^2((2m + 1) theta)."""
    from qiskit import QuantumCircuit
    from qiskit.circuit.library import RYGate, StatePreparation
    from qiskit.quantum_info import Operator, Statevector

    p, f = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.9, 0.05, 0.3, 0.15])
    load = QuantumCircuit(3)
    load.append(StatePreparation(np.sqrt(p)), [0, 1])
    for item, value in enumerate(f):
        load.append(RYGate(2 * np.arcsin(np.sqrt(value))).control(2, ctrl_state=item, annotated=False), [0, 1, 2])
    flip_good, flip_zero = np.eye(8), -np.eye(8)
    flip_good[range(4, 8), range(4, 8)] = -1
    flip_zero[0, 0] = 1
    prepared = Operator(load).data
    iteration = prepared @ flip_zero @ prepared.conj().T @ flip_good
    theta = np.arcsin(np.sqrt(p @ f))
    for m in range(4):
        state = Statevector(np.linalg.matrix_power(iteration, m) @ prepared[:, 0])
        assert state.probabilities([2])[1] == pytest.approx(np.sin((2 * m + 1) * theta) ** 2, abs=1e-12)


@methods
def test_estimates_are_right_as_often_as_they_say(method: Method) -> None:
    """Coverage of 95 % intervals over 400 repetitions of 200 queries, and no bias."""
    rng = np.random.default_rng(2)
    found = [estimate_mean(losses, 500, rng, 200, method) for _ in range(400)]
    errors = np.array([estimate.value for estimate in found]) - LOSSES.mean()
    stated = np.array([estimate.standard_error for estimate in found])
    assert np.mean(np.abs(errors) < 1.96 * stated) > 0.88
    assert abs(errors.mean()) < 4 * errors.std() / 20
    assert all(estimate.queries == 200 for estimate in found)


def test_amplitude_error_falls_faster() -> None:
    """The slope of the median error over 7 budgets of whole schedules: <= -0.9, and about -0.5 for Monte Carlo."""
    rng = np.random.default_rng(3)
    m = [0, 1, *(2**k for k in range(1, 8))]
    budgets = [32 * sum(2 * power + 1 for power in m[:used]) for used in range(2, len(m))]
    assert all(one < other for one, other in pairwise(budgets))
    slopes = {}
    for method in METHODS[:2]:
        medians = [
            np.median([abs(estimate_mean(losses, 500, rng, q, method).value - LOSSES.mean()) for _ in range(120)])
            for q in budgets
        ]
        slopes[method] = np.polyfit(np.log(budgets), np.log(medians), 1)[0]
    assert slopes["amplitude"] <= -0.9
    assert slopes["monte_carlo"] == pytest.approx(-0.5, abs=0.1)


def test_strata_by_what_is_known_help() -> None:
    rng = np.random.default_rng(4)
    stored = LOSSES * rng.lognormal(0.0, 0.2, 500)
    plain = [estimate_mean(losses, 500, rng, 100, "monte_carlo").value for _ in range(200)]
    strata = [estimate_mean(losses, 500, rng, 100, "stratified", order=stored).value for _ in range(200)]
    assert np.var(strata) < 0.3 * np.var(plain)


@methods
def test_a_mean_of_fresh_losses_asks_the_probe(method: Method) -> None:
    asked: list[np.ndarray] = []
    ids = 1000 + 3 * np.arange(500)

    def probe(batch: Ids) -> Floats:
        asked.append(batch)
        return losses((batch - 1000) // 3)

    estimate = estimate_mean(probed(probe, ids, 32), ids.size, np.random.default_rng(5), 90, method)
    everything = np.concatenate(asked)
    assert max(part.size for part in asked) <= 32
    assert everything.size == estimate.probes == np.unique(everything).size
    assert estimate.probes == 500 if method == "amplitude" else estimate.probes <= estimate.queries == 90
    assert abs(estimate.value - LOSSES.mean()) < 5 * estimate.standard_error


@methods
def test_partition_ratio(method: Method) -> None:
    rng = np.random.default_rng(6)
    weights = LOSSES * rng.uniform(0.5, 1.5, 500)
    found = [partition_ratio(losses, weights, rng, 400, method) for _ in range(60)]
    mean = np.mean([estimate.value for estimate in found])
    error = np.sqrt(np.mean([estimate.standard_error**2 for estimate in found]) / 60)
    assert abs(mean - LOSSES.sum() / weights.sum()) < 4 * error
    same = partition_ratio(losses, 2 * LOSSES, rng, 50, method)
    assert same.value == pytest.approx(0.5, abs=1e-3)


@methods
def test_effective_sample_size(method: Method) -> None:
    exact = LOSSES.sum() ** 2 / (LOSSES**2).sum()
    queries = 4000 if method == "amplitude" else 400  # w^2 over its maximum is a small amplitude
    found = [effective_sample_size(losses, 500, np.random.default_rng(seed), queries, method) for seed in range(60)]
    errors = np.array([estimate.value for estimate in found]) - exact
    stated = np.array([estimate.standard_error for estimate in found])
    assert np.mean(np.abs(errors) < 1.96 * stated) > 0.8
    assert np.median(np.abs(errors)) < 0.15 * exact
    with pytest.raises(OptionError, match="queries"):
        effective_sample_size(losses, 500, np.random.default_rng(0), 0, method)


@methods
def test_effective_sample_size_gains_from_known_weights(method: Method) -> None:
    exact = LOSSES.sum() ** 2 / (LOSSES**2).sum()
    near = LOSSES * np.random.default_rng(8).uniform(0.8, 1.2, 500)
    queries, errors = 4000 if method == "amplitude" else 400, []
    for weights in (None, near):
        found = [
            effective_sample_size(losses, 500, np.random.default_rng(seed), queries, method, weights=weights)
            for seed in range(60)
        ]
        distances = np.abs(np.array([estimate.value for estimate in found]) - exact)
        errors.append(np.median(distances))
    assert errors[1] < 0.7 * errors[0]
    stated = np.array([estimate.standard_error for estimate in found])
    assert np.mean(distances < 1.96 * stated) > 0.8
    same = effective_sample_size(losses, 500, np.random.default_rng(9), queries, method, weights=3.0 * LOSSES)
    assert same.value == pytest.approx(exact, rel=0.01 if method == "amplitude" else 0.25)


@methods
def test_effective_sample_size_stays_where_it_can_be(method: Method) -> None:
    """One weight among 500 that is not 0, and equal weights: 1 and 500, also with next to no queries."""
    one = np.zeros(500)
    one[17] = 4.0
    for weights in (one, np.ones(500)):
        for seed in range(20):
            found = effective_sample_size(lambda i, w=weights: w[i], 500, np.random.default_rng(seed), 6, method)
            assert found.value == 0.0 or 1.0 <= found.value <= 500.0
    full = effective_sample_size(lambda i: np.ones(i.size), 500, np.random.default_rng(0), 5000, method)
    assert full.value == pytest.approx(500.0, rel=1e-3)
    assert effective_sample_size(lambda i: np.zeros(i.size), 500, np.random.default_rng(0), 50, method).value == 0.0


def test_bound_clips() -> None:
    estimate = estimate_mean(losses, 500, np.random.default_rng(7), 60_000, bound=2.0)
    assert estimate.value == pytest.approx(np.minimum(LOSSES, 2.0).mean(), abs=1e-3)


@methods
def test_edges(method: Method) -> None:
    rng = np.random.default_rng(8)
    assert estimate_mean(lambda i: 0.0 * i, 7, rng, 50, method).value == 0.0
    assert estimate_mean(lambda i: 3.0 + 0.0 * i, 1, rng, 50, method).value == pytest.approx(3.0, abs=1e-3)
    assert estimate_mean(losses, 500, rng, 1, method).standard_error > 0.0
    p = np.zeros(500)
    p[[3, 77]] = 0.25, 0.75
    exact = 0.25 * LOSSES[3] + 0.75 * LOSSES[77]
    assert estimate_mean(losses, 500, rng, 20_000, method, probabilities=p).value == pytest.approx(exact, rel=0.05)
    for bad in (np.nan, np.inf, -1.0):
        with pytest.raises(ValueError, match="finite"):
            estimate_mean(lambda i, bad=bad: np.full(i.size, bad), 5, rng, 50, method)
    with pytest.raises(OptionError, match="queries=0"):
        estimate_mean(losses, 500, rng, 0, method)


def test_unknown_method_is_refused() -> None:
    with pytest.raises(OptionError, match="method=magic: amplitude, monte_carlo"):
        estimate_mean(losses, 500, np.random.default_rng(0), 5, "magic")  # type: ignore[arg-type]


def test_fresh_loss_now_and_then() -> None:
    fresh = FreshLoss(3, 40, "monte_carlo")
    rng = np.random.default_rng(9)
    assert fresh.metrics() == {}
    due = []
    for _ in range(7):
        due.append(fresh.due())
        if due[-1]:
            fresh.observe(losses, np.arange(500), rng, stored=LOSSES)
    assert due == [False, False, True, False, False, True, False]
    metrics = fresh.metrics()
    assert metrics["fresh_loss_queries"] == 40
    assert abs(metrics["fresh_loss"] - LOSSES.mean()) < 5 * metrics["fresh_loss_error"]
    again = FreshLoss(3, 40, "monte_carlo")
    again.load_state_dict(fresh.state_dict())
    assert again.metrics() == metrics
    assert [again.due() for _ in range(2)] == [False, True]
    assert not any(FreshLoss(0, 40, "monte_carlo").due() for _ in range(5))
