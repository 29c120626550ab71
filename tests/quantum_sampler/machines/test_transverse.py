"""The machine in a transverse field against matrices made of Kronecker products, and its reads against their law."""

import numpy as np
import pytest
from scipy.linalg import expm

from hybrid_opt.errors import ProblemError, TransientError
from hybrid_opt.problem.quadratic import Bits
from hybrid_opt.problem.qubo import Qubo
from quantum_sampler.machines import TransverseMachine
from quantum_sampler.machines.machine import all_spins, codes_of, spins_of
from quantum_sampler.machines.reader import AnnealerReader, PathIntegralReader
from quantum_sampler.machines.transverse import inverse_temperature
from quantum_sampler.selector import Floats
from tests.quantum_sampler.machines.test_machines import codes, randomised

GAMMA = 0.7
X, Z = np.array([[0.0, 1.0], [1.0, 0.0]]), np.diag([1.0, -1.0])


def make(bits: int, hidden: int = 0, scale: float = 0.4, reader: PathIntegralReader | None = None) -> TransverseMachine:
    made = TransverseMachine(bits, hidden, np.random.default_rng(0), gamma=GAMMA, reader=reader)
    machine = randomised(made, 1, scale)
    assert isinstance(machine, TransverseMachine)
    return machine


def on(operator: Floats, unit: int, units: int) -> Floats:
    """An operator on one unit; unit i is bit i of a basis state."""
    return np.kron(np.kron(np.eye(1 << (units - 1 - unit)), operator), np.eye(1 << unit))


def hamiltonian(machine: TransverseMachine) -> Floats:
    units = machine.units
    p = {name: values.squeeze(-1) if values.ndim == 3 else values for name, values in machine.parameters.items()}
    h = np.zeros((1 << units, 1 << units))
    for i in range(units):
        field = p["fields"][i] if i < machine.bits else p["hidden_fields"][i - machine.bits, 0]
        h += field * on(Z, i, units) - GAMMA * on(X, i, units)
        for j in range(i + 1, units):
            if j < machine.bits:
                h += p["couplings"][i, j] * on(Z, i, units) @ on(Z, j, units)
            elif i < machine.bits:
                h += p["weights"][i, j - machine.bits] * on(Z, i, units) @ on(Z, j, units)
    return h


def visible_law(machine: TransverseMachine) -> Floats:
    rho = expm(-hamiltonian(machine)).diagonal()
    return rho.reshape(-1, 1 << machine.bits).sum(0) / rho.sum()


@pytest.mark.parametrize("hidden", [0, 2])
def test_exact_free_energy_is_the_diagonal_of_the_gibbs_state(hidden: int) -> None:
    machine = make(5, hidden)
    energies = machine.free_energy(np.arange(32, dtype=np.uint64))
    np.testing.assert_allclose(np.exp(-energies), visible_law(machine), atol=1e-12)


@pytest.mark.parametrize("hidden", [0, 2])
def test_gradient_is_that_of_the_bound(hidden: int) -> None:
    """The bound: mean over the data of log tr exp(-H_s) - log Z, H_s the Hamiltonian with the visible units clamped."""
    machine, data, step = make(4, hidden), spins_of(codes(40) % np.uint64(16), 4), 1e-5
    states = np.arange(1 << machine.units)
    found, counts = np.unique(codes_of(data), return_counts=True)

    def bound() -> float:
        h = hamiltonian(machine)
        clamped = [h[np.ix_(*2 * [states[states % 16 == int(code)]])] for code in found]
        traces = np.array([np.trace(expm(-block)) for block in clamped])
        return float(counts @ np.log(traces) / counts.sum() - np.log(np.trace(expm(-h))))

    model, clamped = machine.model_gradient(np.random.default_rng(0)), machine.mean_gradient(data)
    for name, values in machine.parameters.items():
        for place in list(np.ndindex(values.shape))[:6]:
            if name == "couplings" and place[0] >= place[1]:
                continue
            partner = place[::-1] if name == "couplings" else None
            bounds = []
            for change in (step, -2 * step, step):
                values[place] += change
                if partner is not None:
                    values[partner] += change
                bounds.append(bound())
            expected = (bounds[0] - bounds[1]) / (2 * step)
            assert model[name][place] - clamped[name][place] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("hidden", [0, 2])
def test_the_bound_is_one(hidden: int) -> None:
    """Golden and Thompson: tr exp(-H_s) / Z <= p(s)."""
    machine = make(5, hidden)
    log_z = np.log(np.trace(expm(-hamiltonian(machine)))) - hidden * np.log(2.0)
    states = np.arange(32, dtype=np.uint64)
    bound = -machine._restricted_energy(spins_of(states, 5)) - log_z
    assert (bound <= -machine.free_energy(states) + 1e-12).all()
    assert (bound < -machine.free_energy(states) - 0.01).any()


def distance(p: Floats, q: Floats) -> float:
    return float(0.5 * np.abs(p - q).sum())


def test_estimated_free_energies_are_nearer_to_the_law_than_the_bound() -> None:
    """Less than half of the total variation."""
    for hidden in (0, 2):
        machine = make(6, hidden)
        exact = visible_law(machine)
        machine._reader = PathIntegralReader(GAMMA, 1)
        estimate = machine.law()
        bound = np.exp(-machine._restricted_energy(all_spins(6)))
        assert distance(estimate, exact) < 0.5 * distance(bound / bound.sum(), exact)


def test_estimated_free_energy_of_one_unit_is_exact() -> None:
    machine = make(1, scale=1.5)
    exact = visible_law(machine)
    machine._reader = PathIntegralReader(GAMMA, 1)
    np.testing.assert_allclose(machine.law(), exact, atol=1e-12)


def test_estimate_is_finite_where_a_flip_costs_much() -> None:
    machine = make(3, scale=1.0)
    machine.parameters["fields"][:] = [300.0, -300.0, 0.0]
    machine._reader = PathIntegralReader(GAMMA, 1)
    assert np.isfinite(machine.free_energy(np.arange(8, dtype=np.uint64))).all()


def test_path_integral_follows_the_quantum_law_and_not_the_classical_one() -> None:
    """The total variation of 2,500 reads is within 0.02 of that of as many exact draws; the classical law is off."""
    reads = 2500
    machine = make(8, scale=0.5, reader=PathIntegralReader(GAMMA, reads))
    exact = visible_law(machine)
    h, j = machine.ising()
    spins = all_spins(8)
    classical = np.exp(-(spins @ h) - np.einsum("ki,ki->k", spins @ j, spins))
    classical /= classical.sum()
    rng = np.random.default_rng(0)
    floor = np.mean([distance(rng.multinomial(reads, exact) / reads, exact) for _ in range(20)])
    found = np.bincount(machine.sample(reads, rng).astype(int), minlength=256) / reads
    assert distance(classical, exact) > 0.1
    assert distance(found, exact) < floor + 0.02
    assert distance(found, classical) > distance(found, exact) + 0.05


def test_warm_reads_stay_on_the_law() -> None:
    """Three calls of ten sweeps, each from the last reads."""
    reads = 2500
    machine = make(5, scale=0.5, reader=PathIntegralReader(GAMMA, reads))
    exact, rng = visible_law(machine), np.random.default_rng(0)
    machine.sample(reads, rng)
    machine.sample(reads, rng)
    found = np.bincount(machine.sample(reads, rng).astype(int), minlength=32) / reads
    floor = np.mean([distance(rng.multinomial(reads, exact) / reads, exact) for _ in range(20)])
    assert distance(found, exact) < floor + 0.02


def test_reads_estimate_the_gradient() -> None:
    exact, sampled = make(4, 2), make(4, 2, reader=PathIntegralReader(GAMMA, 2000))
    rng = np.random.default_rng(0)
    expected, found = exact.model_gradient(rng), sampled.model_gradient(rng)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=0.11)  # 5 errors


def test_too_many_units_need_a_reader() -> None:
    with pytest.raises(ValueError, match="11 units"):
        TransverseMachine(8, 3, np.random.default_rng(0))


@pytest.mark.parametrize("beta", [0.4, 2.5])
def test_inverse_temperature_of_exact_samples(beta: float) -> None:
    rng = np.random.default_rng(0)
    fields, couplings = 0.4 * rng.standard_normal(6), np.triu(0.4 * rng.standard_normal((6, 6)), 1)
    spins = all_spins(6)
    energies = spins @ fields + np.einsum("ki,ki->k", spins @ couplings, spins)
    law = np.exp(-beta * energies)
    drawn = spins[rng.choice(64, 20_000, p=law / law.sum())]
    assert inverse_temperature(drawn, fields, couplings) == pytest.approx(beta, rel=0.05)


def test_inverse_temperature_of_frozen_reads_is_finite_and_grows_with_their_number() -> None:
    fields, couplings = np.ones(4), np.zeros((4, 4))
    few, many = (inverse_temperature(-np.ones((count, 4)), fields, couplings) for count in (10, 1000))
    assert 0.5 < few < many < 100.0
    assert few == pytest.approx(0.5 * np.log(10), abs=0.01)  # odds of count to 1 under exp(-2 beta)


class Gibbs:
    """An annealer at a known temperature: exact samples of exp(-beta C)."""

    annealer = True

    def __init__(self, beta: float) -> None:
        self.beta = beta

    def read(self, qubo: Qubo, seed: int, start: Bits | None = None) -> Bits:
        law = np.exp(-self.beta * (qubo.diagonal() - qubo.diagonal().min()))
        states = np.random.default_rng(seed).choice(law.size, 400, p=law / law.sum())
        return ((states[:, None] >> np.arange(qubo.n)) & 1).astype(np.uint8)


@pytest.mark.parametrize("beta", [0.5, 3.0])
def test_an_annealer_of_unknown_temperature_trains_the_law_of_its_reads(beta: float) -> None:
    rng = np.random.default_rng(0)
    machine = TransverseMachine(6, 0, rng, reader=Gibbs(beta))
    machine.train(codes(), 120, 0.2 / beta, rng)
    assert machine.beta == pytest.approx(beta, rel=0.2)
    exact = TransverseMachine(6, 0, rng, gamma=1e-6)
    exact.train(codes(), 120, 0.2, rng)
    likelihoods = [each.log_likelihood(codes(seed=6), rng) for each in (machine, exact)]
    assert likelihoods[0] == pytest.approx(likelihoods[1], abs=0.05)


def test_the_mock_of_an_annealer_trains_a_machine() -> None:
    rng = np.random.default_rng(0)
    reader = AnnealerReader("dwave:mock", 32)
    machine = TransverseMachine(6, 1, rng, reader=reader)
    machine.train(codes(), 12, 0.1, rng)
    two, other = machine.free_energy(np.array([0b110100, 0b000000], np.uint64))  # a prototype, and what never occurs
    assert two < other
    reader.close()


def test_an_annealer_that_gives_no_answer_in_time_may_do_so_later(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = AnnealerReader("dwave:mock", 8)

    def late(qubo: Qubo, seed: int) -> None:
        raise TimeoutError("no result within 10 s")

    monkeypatch.setattr(reader._solver, "solve", late)
    with pytest.raises(TransientError, match="no result within 10 s"):
        reader.read(Qubo([[1.0]]), 0)
    reader.close()


def test_a_backend_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ProblemError, match="backend=dwavee"):
        AnnealerReader("dwavee", 8)


def test_without_a_field_it_is_the_classical_machine() -> None:
    """Free energies from all eigenvalues are -log of the classical Boltzmann law, hidden units summed out."""
    made = TransverseMachine(4, 2, np.random.default_rng(0), gamma=0.0)
    made.parameters["weights"][...] = np.random.default_rng(1).normal(size=made.parameters["weights"].shape)
    fields, couplings = made.ising()
    spins = all_spins(6)
    weights = np.exp(-(spins @ fields + np.einsum("ki,ij,kj->k", spins, couplings, spins))).reshape(4, 16).sum(0)
    expected = -np.log(weights / weights.sum())
    np.testing.assert_allclose(made.free_energy(np.arange(16, dtype=np.uint64)), expected, rtol=1e-9)
