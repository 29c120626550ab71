"""A fully visible Boltzmann machine, that is an Ising model, fitted to codes by its exact likelihood."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.problem.qubo import Qubo

Floats = NDArray[np.float64]
LARGEST = 12  # bits
ITERATIONS = 100
TOLERANCE = 1e-9  # of the gradient


class Ising(NamedTuple):
    """p(s) ~ exp(-E(s)), E(s) = h's + s'Js, spins s = 1 - 2x of bits x.

    h: float64 [n]. couplings: J, float64 [n, n], upper triangular.
    """

    h: Floats
    couplings: Floats

    def qubo(self) -> Qubo:
        """The energy as a Qubo of the bits."""
        return Qubo.from_ising(self.h, self.couplings)

    def energies(self) -> Floats:
        """E of all basis states, float64 [2^n]; bit i of state k is (k >> i) & 1. They add up to 0."""
        return self.qubo().diagonal()


def fit_ising(counts: Floats, l2: float = 0.01, start: Ising | None = None) -> Ising:
    """The Ising model of greatest mean log-likelihood less l2 / 2 times the sum of the squares of h and J.

    counts [2^n], n <= 12: how often each basis state was seen, >= 0, not all 0. l2 > 0 makes the problem strictly
    convex, so the result does not depend on `start`, which only saves iterations. Newton's method on exact moments:
    the gradient is the difference of means of s and ss' (Ackley, Hinton and Sejnowski 1985), the Hessian their
    covariance.

    Raises ValueError for other shapes or values, and where it does not converge.
    """
    counts = np.asarray(counts, np.float64)
    theta: Floats
    n = counts.size.bit_length() - 1
    if counts.shape != (1 << max(n, 0),) or not 1 <= n <= LARGEST:
        raise ValueError(f"counts: shape {counts.shape}; [2^n] with 1 <= n <= {LARGEST} is accepted")
    if not (np.isfinite(counts).all() and counts.min() >= 0.0 and counts.sum() > 0.0) or not l2 > 0.0:
        raise ValueError(f"counts: finite, >= 0 and not all 0, and l2 > 0 (here {l2}) are accepted")
    features = _features(n)  # [2^n, n + n(n-1)/2]
    means = counts @ features / counts.sum()
    theta = np.zeros(features.shape[1])
    if start is not None:
        theta = np.concatenate([start.h, start.couplings[np.triu_indices(n, 1)]])
    loss, law = _loss(features, means, theta, l2)
    for _ in range(ITERATIONS):
        model = law @ features
        gradient = means - model + l2 * theta
        if np.abs(gradient).max() < TOLERANCE:
            break
        weighted = features * law[:, None]
        hessian = features.T @ weighted - np.outer(model, model) + l2 * np.eye(theta.size)
        direction = -np.linalg.solve(hessian, gradient)
        slope, scale = float(gradient @ direction), 1.0
        while True:
            trial, trial_law = _loss(features, means, theta + scale * direction, l2)
            if trial <= loss + 0.25 * scale * slope + 1e-14 * abs(loss):
                break
            scale /= 2
            if scale < 1e-12:
                raise ValueError(f"the fit of {n} bits stalled at a gradient of {np.abs(gradient).max():.2g}")
        theta, loss, law = theta + scale * direction, trial, trial_law
    else:
        raise ValueError(f"the fit of {n} bits did not converge in {ITERATIONS} iterations")
    couplings = np.zeros((n, n))
    couplings[np.triu_indices(n, 1)] = theta[n:]
    return Ising(theta[:n].copy(), couplings)


def _features(n: int) -> Floats:
    """s_i, then s_i s_j for i < j by rows, of all basis states."""
    spins = 1.0 - 2.0 * (np.arange(1 << n)[:, None] >> np.arange(n) & 1)
    rows, columns = np.triu_indices(n, 1)
    return np.concatenate([spins, spins[:, rows] * spins[:, columns]], 1)


def _loss(features: Floats, means: Floats, theta: Floats, l2: float) -> tuple[float, Floats]:
    """Penalised mean negative log-likelihood, and the law of the model [2^n]."""
    exponent = -(features @ theta)
    top = exponent.max()
    law = np.exp(exponent - top)
    total = law.sum()
    return float(means @ theta + top + np.log(total) + 0.5 * l2 * theta @ theta), law / total
