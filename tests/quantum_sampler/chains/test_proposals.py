"""Proposals against exact evolution, Qiskit, and their own matrices."""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import chisquare

from hybrid_opt import Qubo
from quantum_sampler.chains.flip_proposals import LocalProposal, UniformProposal
from quantum_sampler.chains.quantum_proposal import QuantumProposal, hamiltonian, midpoints
from tests.oracles.chains import exact_mean_matrix
from tests.oracles.proposal_circuit import proposal_circuit

PAULI = {"x": np.array([[0.0, 1.0], [1.0, 0.0]]), "1": np.eye(2)}


def random_qubo(n: int, seed: int) -> Qubo:
    rng = np.random.default_rng(seed)
    return Qubo.from_ising(rng.normal(size=n), np.triu(rng.normal(size=(n, n)), 1))


def test_hamiltonian_is_that_of_the_paper() -> None:
    """(1 - g) a H_prob + g sum X with a = ||sum X|| / ||H_prob||, from Pauli matrices."""
    n, gamma = 3, 0.4
    energies = random_qubo(n, 0).diagonal()
    mixer = np.zeros((8, 8))
    for bit in range(n):
        product = np.eye(1)
        for other in reversed(range(n)):  # the last bit is the leftmost factor
            product = np.kron(product, PAULI["x" if other == bit else "1"])
        mixer += product
    problem = np.diag(energies - energies.mean())
    expected = (1 - gamma) * np.linalg.norm(mixer) / np.linalg.norm(problem) * problem + gamma * mixer
    np.testing.assert_allclose(hamiltonian(energies, gamma), expected, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fine_trotter_steps_give_the_exact_evolution(n: int) -> None:
    energies = np.random.default_rng(n).normal(size=1 << n)
    exact = np.abs(expm(-1j * 3.0 * hamiltonian(energies, 0.35))) ** 2
    errors = [np.abs(QuantumProposal(energies, trotter_step=dt).matrix(0.35, 3.0) - exact).max() for dt in (0.04, 0.02)]
    assert errors[1] < 2e-3
    if n > 1:  # one qubit's error may be smaller than what halving shows
        assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.2)  # second order


def test_mean_of_the_exact_evolution() -> None:
    energies = random_qubo(4, 1).diagonal()
    grid = [(g, t) for g in midpoints((0.25, 0.6), 3) for t in midpoints((2.0, 20.0), 4)]
    expected = np.mean([np.abs(expm(-1j * t * hamiltonian(energies, g))) ** 2 for g, t in grid], axis=0)
    np.testing.assert_allclose(exact_mean_matrix(energies, points=(3, 4)), expected, atol=1e-12)


@pytest.mark.parametrize("step", [0.1, 0.8, 2.5])
def test_the_proposal_is_symmetric_however_coarse(step: float) -> None:
    proposal = QuantumProposal(random_qubo(6, 2).diagonal(), trotter_step=step)
    for gamma, time in [(0.25, 2.0), (0.5, 9.1), (0.6, 20.0)]:
        matrix = proposal.matrix(gamma, time)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-13)
        np.testing.assert_allclose(matrix.sum(0), 1.0, atol=1e-12)
        assert matrix.min() >= 0.0


def test_equal_energies_do_not_matter() -> None:
    """Without a problem every qubit turns alone: the chance of a flip is sin^2(g t)."""
    proposal = QuantumProposal(np.full(8, 3.7))
    flips = np.bitwise_count(np.arange(8)[:, None] ^ np.arange(8)).astype(float)
    chance = np.sin(0.5 * 4.0) ** 2
    np.testing.assert_allclose(proposal.matrix(0.5, 4.0), chance**flips * (1 - chance) ** (3 - flips), atol=1e-12)


@pytest.mark.parametrize("state", [0, 5, 14])
def test_circuit_gives_the_same_law(state: int) -> None:
    from qiskit.quantum_info import Statevector

    qubo = random_qubo(4, 3)
    proposal = QuantumProposal(qubo.diagonal(), trotter_step=0.8)
    gamma, time = 0.45, 5.0
    circuit = proposal_circuit(qubo, state, gamma, time, steps=7)  # ceil(5 / 0.8)
    law = Statevector.from_instruction(circuit).probabilities()
    np.testing.assert_allclose(proposal.matrix(gamma, time)[state], law, atol=1e-12)


def test_draws_follow_the_matrix() -> None:
    proposal = QuantumProposal(random_qubo(4, 4).diagonal(), gammas=(0.4, 0.4), times=(3.0, 3.0))
    rng = np.random.default_rng(0)
    starts = np.arange(20_000) % 2 * 9
    drawn = np.concatenate([proposal.propose(part, rng) for part in np.split(starts, 20)])
    for start in (0, 9):
        expected = proposal.matrix(0.4, 3.0)[start] * 10_000
        counts = np.bincount(drawn[starts == start], minlength=16)
        assert expected.min() > 5
        assert chisquare(counts, expected).pvalue > 1e-4


@pytest.mark.parametrize("kind", [LocalProposal, UniformProposal])
def test_classical_draws_follow_their_matrix(kind: type[LocalProposal | UniformProposal]) -> None:
    proposal = kind(3)
    matrix = proposal.mean_matrix()
    np.testing.assert_allclose(matrix, matrix.T)
    np.testing.assert_allclose(matrix.sum(1), 1.0)
    drawn = proposal.propose(np.full(40_000, 6), np.random.default_rng(0))
    expected = matrix[6] * drawn.size
    counts = np.bincount(drawn, minlength=8)
    assert not counts[expected == 0].any()
    assert chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 1e-4


@pytest.mark.parametrize("energies", [np.zeros(3), np.zeros(1), np.zeros((2, 2))])
def test_energies_must_be_of_all_states(energies: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"energies: shape .*\[2\^n\]"):
        QuantumProposal(energies)
