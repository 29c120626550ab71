"""Restricted machines against traces of matrices, finite differences and enumeration."""

from typing import Any

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.special import logsumexp

from quantum_sampler.machines import Rbm, SemiQuantumRbm
from quantum_sampler.machines.machine import all_spins, spins_of
from quantum_sampler.machines.restricted import Restricted
from tests.quantum_sampler.machines.test_machines import codes, randomised

PAULI = np.array([[[1, 0], [0, -1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]]])
KINDS = {"rbm": Rbm, "semi_quantum": SemiQuantumRbm}


def make(kind: str, bits: int = 6, hidden: int = 3, **options: Any) -> Restricted:
    machine = randomised(KINDS[kind](bits, hidden, np.random.default_rng(0), **options), 1)
    assert isinstance(machine, Restricted)
    return machine


@pytest.mark.parametrize("kind", KINDS)
def test_free_energy_is_the_trace_over_the_hidden_units(kind: str) -> None:
    """-log tr exp(-a.s - sum_j Phi_j.(Z, X, Y)_j), by the matrices, of which a classical unit has Z alone."""
    machine = make(kind)
    a, b, w = (machine.parameters[name] for name in ("fields", "hidden_fields", "weights"))
    states = np.arange(64, dtype=np.uint64)
    expected = []
    for s in spins_of(states, 6):
        phi = b + np.einsum("i,ijd->jd", s, w)
        traces = [np.trace(expm(-np.einsum("d,dab->ab", field, PAULI[: field.size]))).real for field in phi]
        expected.append(a @ s - np.log(traces).sum())
    np.testing.assert_allclose(machine.free_energy(states) - 3 * np.log(2.0), expected, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_the_log_likelihood(kind: str) -> None:
    machine, rng, data, step = make(kind), np.random.default_rng(2), codes(50), 1e-5
    model, clamped = machine.model_gradient(rng), machine.mean_gradient(spins_of(data, 6))
    for name, values in machine.parameters.items():
        gradient = model[name] - clamped[name]
        for place in np.ndindex(values.shape):
            likelihoods = []
            for change in (step, -2 * step):
                values[place] += change
                likelihoods.append(machine.log_likelihood(data, rng))
            values[place] += step
            assert gradient[place] == pytest.approx((likelihoods[0] - likelihoods[1]) / (2 * step), abs=1e-8)


def test_a_qubit_with_parallel_terms_is_a_classical_unit() -> None:
    classical, quantum = make("rbm"), make("semi_quantum")
    direction = np.array([0.6, 0.0, 0.8])
    quantum.parameters["fields"][:] = classical.parameters["fields"]
    for name in ("hidden_fields", "weights"):
        quantum.parameters[name][:] = classical.parameters[name] * direction
    states = np.arange(64, dtype=np.uint64)
    np.testing.assert_allclose(quantum.free_energy(states), classical.free_energy(states), atol=1e-12)


def test_three_times_the_hidden_units_have_as_many_parameters() -> None:
    sizes = [sum(v.size for v in make(*of).parameters.values()) for of in (("rbm", 6, 9), ("semi_quantum", 6, 3))]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("kind", KINDS)
def test_chains_estimate_the_gradient(kind: str) -> None:
    """Means over many sweeps of 256 chains against the exact ones, of a machine with strong couplings."""
    exact = make(kind)
    chains = make(kind, chains=256, exact_bits=0)
    rng = np.random.default_rng(3)
    expected, sums = exact.model_gradient(rng), dict.fromkeys(exact.parameters, 0.0)
    for number in range(220):
        found = chains.model_gradient(rng)
        if number >= 20:
            sums = {name: sums[name] + found[name] / 200 for name in sums}
    for name in sums:
        np.testing.assert_allclose(sums[name], expected[name], atol=0.03)  # 5 errors of correlated sweeps


@pytest.mark.parametrize("kind", KINDS)
def test_annealed_importance_sampling_finds_the_partition_sum(kind: str) -> None:
    """18 bits: too many for the enumeration that the machine would do, not for that of this test."""
    machine = make(kind, bits=18, hidden=5)
    rng = np.random.default_rng(0)
    machine.train(rng.integers(1 << 18, size=100).astype(np.uint64), 3, 0.01, rng)
    exact = logsumexp(-machine.free_energy(np.arange(1 << 18, dtype=np.uint64)))
    assert machine.log_partition(rng) == pytest.approx(exact, abs=0.3)


def test_the_annealing_of_a_machine_that_is_its_start_is_exact() -> None:
    machine = make("semi_quantum", bits=20)
    for name in ("hidden_fields", "weights"):
        machine.parameters[name][:] = 0.0
    machine.parameters["fields"][:] = 0.0
    machine._chains = np.repeat([[1.0], [-1.0]], 20, axis=1)  # of mean 0, as the law is
    assert machine.log_partition(np.random.default_rng(0)) == pytest.approx(20 * np.log(2.0), abs=1e-9)


def test_spins_and_codes() -> None:
    np.testing.assert_array_equal(all_spins(2), [[1, 1], [-1, 1], [1, -1], [-1, -1]])
