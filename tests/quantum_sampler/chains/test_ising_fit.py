"""The Ising fit against its optimality conditions, finite differences and scipy."""

import numpy as np
import pytest
from scipy.optimize import minimize

from quantum_sampler.chains.ising_fit import Ising, fit_ising


def spins(n: int) -> np.ndarray:
    return 1.0 - 2.0 * (np.arange(1 << n)[:, None] >> np.arange(n) & 1)


def objective(h: np.ndarray, couplings: np.ndarray, counts: np.ndarray, l2: float) -> float:
    s = spins(h.size)
    energies = s @ h + np.einsum("ki,ij,kj->k", s, np.triu(couplings, 1), s)
    log_law = -energies - np.log(np.exp(-energies).sum())
    return float(counts @ log_law / counts.sum() - l2 / 2 * ((h**2).sum() + (np.triu(couplings, 1) ** 2).sum()))


def test_it_is_the_maximum_that_scipy_finds() -> None:
    n, l2 = 3, 0.05
    counts = np.random.default_rng(0).poisson(4.0, 8).astype(float)
    rows = np.triu_indices(n, 1)

    def loss(theta: np.ndarray) -> float:
        couplings = np.zeros((n, n))
        couplings[rows] = theta[n:]
        return -objective(theta[:n], couplings, counts, l2)

    best = minimize(loss, np.zeros(6), tol=1e-12).x
    fit = fit_ising(counts, l2)
    np.testing.assert_allclose(fit.h, best[:n], atol=1e-5)
    np.testing.assert_allclose(fit.couplings[rows], best[n:], atol=1e-5)


@pytest.mark.parametrize("n", [1, 5, 9])
def test_moments_match_but_for_the_penalty(n: int) -> None:
    """At the optimum <s> and <ss'> of data and model differ by -l2 times the coefficient; the start does not matter."""
    rng = np.random.default_rng(n)
    counts = rng.poisson(rng.gamma(0.3, 3.0, 1 << n)).astype(float)
    counts[0] += 1
    fit = fit_ising(counts, 0.02)
    energies = fit.energies()
    s = spins(n)
    np.testing.assert_allclose(energies, s @ fit.h + np.einsum("ki,ij,kj->k", s, fit.couplings, s), atol=1e-12)
    law, data = np.exp(-energies) / np.exp(-energies).sum(), counts / counts.sum()
    np.testing.assert_allclose(data @ s - law @ s, -0.02 * fit.h, atol=1e-8)
    moments = np.einsum("k,ki,kj->ij", data - law, s, s)
    np.testing.assert_allclose(np.triu(moments, 1), -0.02 * fit.couplings, atol=1e-8)
    again = fit_ising(counts, 0.02, Ising(rng.normal(size=n), np.triu(rng.normal(size=(n, n)), 1)))
    np.testing.assert_allclose(again.couplings, fit.couplings, atol=1e-6)


def test_it_recovers_a_model() -> None:
    """From 4 million exact draws' worth of counts, to three times the standard error of a coefficient."""
    rng = np.random.default_rng(2)
    truth = Ising(0.3 * rng.normal(size=5), np.triu(0.4 * rng.normal(size=(5, 5)), 1))
    law = np.exp(-truth.energies())
    fit = fit_ising(rng.multinomial(4_000_000, law / law.sum()).astype(float), 1e-9)
    np.testing.assert_allclose(fit.couplings, truth.couplings, atol=0.01)
    np.testing.assert_allclose(fit.h, truth.h, atol=0.01)


def test_one_code_alone_is_held_by_the_penalty() -> None:
    counts = np.zeros(64)
    counts[37] = 100.0
    fit = fit_ising(counts, 0.01)
    assert np.isfinite(fit.couplings).all()
    assert fit.energies().argmin() == 37


@pytest.mark.parametrize(
    "counts, l2",
    [(np.zeros(8), 0.1), (np.ones(6), 0.1), (np.ones(1 << 13), 0.1), (-np.ones(4), 0.1), (np.ones(4), 0.0)],
)
def test_what_is_refused(counts: np.ndarray, l2: float) -> None:
    with pytest.raises(ValueError, match="counts"):
        fit_ising(counts, l2)
