"""Chains over few states, from their matrices: how fast they mix, and quantum proposals without Trotter's error."""

import numpy as np

from quantum_sampler.chains.quantum_proposal import hamiltonian, midpoints
from quantum_sampler.selector import Floats


def transition_matrix(proposal: Floats, log_law: Floats) -> Floats:
    """[N, N] of the chain that a symmetric proposal [N, N] and a finite log_law [N] make; rows add up to 1."""
    matrix = proposal * np.exp(np.minimum(0.0, log_law[None] - log_law[:, None]))
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, 1.0 - matrix.sum(1))
    return np.asarray(matrix)


def spectral_gap(proposal: Floats, log_law: Floats) -> float:
    """1 - max |lambda| over the eigenvalues of that chain but the first: about the inverse of its steps to mix.

    A reversible chain has the eigenvalues of the symmetric matrix sqrt(p_s / p_s') P(s, s'), which is formed without
    dividing by small probabilities. N >= 2; gaps below about 1e-13 are rounding errors.
    """
    symmetric = proposal * np.exp(-np.abs(log_law[None] - log_law[:, None]) / 2)
    np.fill_diagonal(symmetric, transition_matrix(proposal, log_law).diagonal())
    values = np.linalg.eigvalsh((symmetric + symmetric.T) / 2)
    return float(1.0 - max(values[-2], -values[0]))


def exact_time(transition: Floats, law: Floats, observable: Floats) -> float:
    """Integrated autocorrelation time of a chain in equilibrium: transition matrix [N, N], law and observable [N].

    1 + 2 sum_t rho(t) by the fundamental matrix (Kemeny and Snell 1960): (I - P + 1 law')^-1.
    """
    centred = observable - law @ observable
    solved = np.linalg.solve(np.eye(law.size) - transition + law[None], centred)
    return float(2.0 * (law * centred) @ solved / ((law * centred) @ centred) - 1.0)


def exact_mean_matrix(
    energies: Floats,
    gammas: tuple[float, float] = (0.25, 0.6),
    times: tuple[float, float] = (2.0, 20.0),
    points: tuple[int, int] = (8, 16),
) -> Floats:
    """[N, N]: |<s'| exp(-i H t) |s>|^2 without Trotter's error, averaged over g and t by midpoints."""
    total = np.zeros((energies.size, energies.size))
    for gamma in midpoints(gammas, points[0]):
        values, vectors = np.linalg.eigh(hamiltonian(energies, gamma))
        for time in midpoints(times, points[1]):
            re = (vectors * np.cos(values * time)) @ vectors.T
            im = (vectors * np.sin(values * time)) @ vectors.T
            total += re**2 + im**2
    return total / (points[0] * points[1])
