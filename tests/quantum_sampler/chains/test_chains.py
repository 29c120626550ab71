"""Chains against the laws that they keep, their transition matrices and their autocorrelation."""

import numpy as np
import pytest
from scipy.signal import lfilter

from quantum_sampler.chains.autocorrelation import integrated_time
from quantum_sampler.chains.flip_proposals import LocalProposal, UniformProposal
from quantum_sampler.chains.metropolis import Direct, Metropolis
from quantum_sampler.chains.quantum_proposal import QuantumProposal
from quantum_sampler.chains.tempering import Tempering
from tests.oracles.chains import exact_time, spectral_gap, transition_matrix

N = 4
LOG_LAW = np.random.default_rng(5).normal(0.0, 1.2, 1 << N)
LAW = np.exp(LOG_LAW) / np.exp(LOG_LAW).sum()
ENERGIES = np.random.default_rng(6).normal(size=1 << N)
KINDS = {
    "quantum": lambda law: Metropolis(QuantumProposal(ENERGIES), law),
    "local": lambda law: Metropolis(LocalProposal(N), law),
    "uniform": lambda law: Metropolis(UniformProposal(N), law),
    "tempering": lambda law: Tempering(law, 4),
    "direct": Direct,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_in_equilibrium_stays_there(kind: str) -> None:
    """512 chains from the law, 40 steps: total variation within sampling error of that many correlated draws."""
    rng = np.random.default_rng(0)
    chain = KINDS[kind](LOG_LAW)
    start = rng.choice(1 << N, 512, p=LAW)
    states = np.tile(start, (chain.replicas, 1))
    if chain.replicas > 1:
        states = chain.run(states, 200, rng).last  # the other replicas have laws of their own
    trace = chain.run(states, 40, rng)
    np.testing.assert_array_equal(trace.last[0], trace.visited[-1])
    found = np.bincount(trace.visited.ravel(), minlength=1 << N) / trace.visited.size
    time = max(integrated_time((trace.visited == state).astype(float)) for state in np.argsort(LAW)[-4:])
    draws = trace.visited.size / max(1.0, time)
    expected = np.sqrt(2 / np.pi * LAW * (1 - LAW) / draws).sum() / 2
    assert np.abs(found - LAW).sum() / 2 < 2.0 * expected


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_law_lacks_is_left_and_never_entered(kind: str) -> None:
    rng = np.random.default_rng(1)
    law = LOG_LAW.copy()
    law[[3, 8, 12]] = -np.inf
    chain = KINDS[kind](law)
    trace = chain.run(np.full((chain.replicas, 64), 3), 300, rng)
    assert not np.isin(trace.visited[100:], [3, 8, 12]).any()
    found = np.bincount(trace.visited[100:].ravel(), minlength=1 << N) / trace.visited[100:].size
    np.testing.assert_allclose(found, np.exp(law) / np.exp(law).sum(), atol=0.025)


@pytest.mark.parametrize("kind", ["local", "uniform"])
def test_steps_follow_the_transition_matrix(kind: str) -> None:
    """Of 60,000 chains from one state: each entry within 5 standard errors."""
    proposal = {"local": LocalProposal(N), "uniform": UniformProposal(N)}[kind]
    row = transition_matrix(proposal.mean_matrix(), LOG_LAW)[5]
    trace = Metropolis(proposal, LOG_LAW).run(np.full((1, 60_000), 5), 1, np.random.default_rng(2))
    found = np.bincount(trace.last[0], minlength=1 << N) / 60_000
    assert (np.abs(found - row) <= 5 * np.sqrt(row * (1 - row) / 60_000)).all()
    stayed = proposal.mean_matrix()[5, 5]  # proposals of the state itself are accepted
    assert trace.acceptance == pytest.approx(1 - row[5] + stayed, abs=0.01)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_transition_matrix_keeps_the_law_and_its_gap_is_that_of_eigvals(n: int) -> None:
    log_law = np.random.default_rng(n).normal(size=1 << n)
    law = np.exp(log_law) / np.exp(log_law).sum()
    for proposal in (LocalProposal(n).mean_matrix(), QuantumProposal(log_law).mean_matrix(2, 2)):
        matrix = transition_matrix(proposal, log_law)
        np.testing.assert_allclose(law @ matrix, law, atol=1e-13)
        np.testing.assert_allclose(matrix.sum(1), 1.0)
        sizes = np.sort(np.abs(np.linalg.eigvals(matrix)))
        assert spectral_gap(proposal, log_law) == pytest.approx(1 - sizes[-2], abs=1e-12)


def test_gap_of_uniform_proposals_in_closed_form() -> None:
    """An independence sampler's gap is 1 / (N max p) (Liu 1996)."""
    assert spectral_gap(UniformProposal(N).mean_matrix(), LOG_LAW) == pytest.approx(1 / (16 * LAW.max()), rel=1e-9)
    steep = -400.0 * np.arange(16.0)  # probabilities that underflow
    assert spectral_gap(UniformProposal(N).mean_matrix(), steep) == pytest.approx(1 / 16, rel=1e-9)


def test_integrated_time_of_an_autoregression() -> None:
    """x' = r x + noise has rho(t) = r^t: time (1 + r) / (1 - r)."""
    rng = np.random.default_rng(3)
    for r in (0.0, 0.6, 0.9):
        series = lfilter([1.0], [1.0, -r], rng.normal(size=(20_000, 8)), axis=0)[200:]
        assert integrated_time(series) == pytest.approx((1 + r) / (1 - r), rel=0.08)


def test_integrated_time_at_its_limits() -> None:
    assert integrated_time(np.full((50, 3), 2.5)) == 1.0
    assert integrated_time(np.ones((1, 3))) == 1.0
    stuck = np.tile([0.0, 1.0], (64, 1))  # two chains that never move, in different places
    assert integrated_time(stuck) > 64
    flipping = np.tile([[0.0], [1.0]], (500, 1))
    assert 0 < integrated_time(flipping) < 0.1


def test_exact_time_is_that_of_a_long_chain_and_of_its_eigenvalues() -> None:
    matrix = transition_matrix(LocalProposal(N).mean_matrix(), LOG_LAW)
    root = np.sqrt(LAW)
    values, vectors = np.linalg.eigh(root[:, None] * matrix / root)
    weights = ((root * (LOG_LAW - LAW @ LOG_LAW)) @ vectors) ** 2
    weights[-1] = 0.0  # of the law itself
    expected = weights[:-1] @ ((1 + values[:-1]) / (1 - values[:-1])) / weights.sum()
    time = exact_time(matrix, LAW, LOG_LAW)
    assert time == pytest.approx(expected, rel=1e-9)
    rng = np.random.default_rng(4)
    trace = Metropolis(LocalProposal(N), LOG_LAW).run(rng.choice(16, (1, 64), p=LAW), 4000, rng)
    assert integrated_time(LOG_LAW[trace.visited]) == pytest.approx(time, rel=0.08)
