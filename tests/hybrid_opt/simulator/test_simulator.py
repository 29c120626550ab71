"""QAOA states against dense linear algebra, Qiskit, PennyLane and finite differences."""

import os

import numpy as np
import pytest
from scipy.linalg import expm

from hybrid_opt import ProblemError, Qubo
from hybrid_opt.circuits.qaoa import qaoa_circuit, qaoa_program
from hybrid_opt.simd import threads as processors
from hybrid_opt.simulator.mixers import mixer_of, moments, standardisation, unentangled
from hybrid_opt.simulator.qaoa import QaoaSimulator, draw

CASES = {  # n, constraints, mixer, warm start
    "x": (9, {}, "x", False),
    "x, few qubits": (3, {}, "auto", False),
    "one qubit": (1, {}, "auto", False),
    "blocks": (9, {"one_hot": [(0, 3, 4), (1, 2, 6, 8)]}, "xy", False),
    "blocks only": (7, {"one_hot": [(2, 0), (1, 3, 4, 5, 6)]}, "auto", False),
    "block of one": (5, {"one_hot": [(1,), (0, 4, 3)]}, "auto", False),
    "rings": (9, {"one_hot": [(0, 3, 4), (1, 2, 6, 8)]}, "ring", False),
    "cardinality": (7, {"cardinality": 3}, "xy", False),
    "cardinality of all but one": (5, {"cardinality": 4}, "xy", False),
    "cardinality of all": (4, {"cardinality": 4}, "auto", False),
    "cardinality of none": (3, {"cardinality": 0}, "auto", False),
    "block and cardinality": (8, {"one_hot": [(1, 5, 7)], "cardinality": 3}, "xy", False),
    "rings and cardinality": (8, {"one_hot": [(1, 5, 7)], "cardinality": 3}, "ring", False),
    "warm start": (8, {}, "x", True),
    "warm start of blocks": (6, {"one_hot": [(1, 5, 2)]}, "xy", True),
}


def make(name: str, count: int, seed: int = 0):
    n, constraints, mixer, warm = CASES[name]
    rng = np.random.default_rng((seed, n))
    qubos = [Qubo(rng.normal(size=(n, n)), offset=rng.normal(), **constraints) for _ in range(count)]
    return qubos, mixer_of(qubos[0], mixer, rng.random(n) if warm else None), rng


def full(simulator: QaoaSimulator, probabilities: np.ndarray, n: int) -> np.ndarray:
    """Probabilities of feasible states as those of basis states."""
    states = simulator.space.bits(np.arange(simulator.size)) @ (1 << np.arange(n))
    law = np.zeros((len(probabilities), 1 << n))
    law[:, states] = probabilities
    return law


def differences(simulator: QaoaSimulator, gammas: np.ndarray, betas: np.ndarray, alpha: float) -> np.ndarray:
    """Derivatives of the values by central differences, [B, 2p]."""
    point, slopes = np.concatenate([gammas, betas], 1), []
    for place in range(point.shape[1]):
        step = np.zeros_like(point)
        step[:, place] = 1e-5
        ends = [simulator.value(*np.split(point + sign * step, 2, 1), alpha) for sign in (1, -1)]
        slopes.append((ends[0] - ends[1]) / 2e-5)
    return np.stack(slopes, 1)


@pytest.mark.parametrize("n", [2, 5, 8])
def test_a_layer_is_what_the_conventions_say(n):
    """exp(+i beta sum X) exp(-i gamma (C - mean) / std) on |+>, by matrix exponentials."""
    rng = np.random.default_rng(n)
    qubo = Qubo(rng.normal(size=(n, n)))
    bits = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1
    cost = np.array([x @ qubo.matrix @ x for x in bits])
    cost = (cost - cost.mean()) / cost.std()
    flips = np.zeros((1 << n, 1 << n))
    for i in range(n):
        flips[np.arange(1 << n), np.arange(1 << n) ^ (1 << i)] += 1
    state = np.full(1 << n, 2 ** (-n / 2), complex)
    gammas, betas = [0.7, -0.4], [0.3, 1.1]
    for gamma, beta in zip(gammas, betas, strict=True):
        state = expm(1j * beta * flips) @ (np.exp(-1j * gamma * cost) * state)
    for precision, tolerance in (("complex128", 1e-13), ("complex64", 1e-6)):
        law = QaoaSimulator(qubo, precision=precision).probabilities(gammas, betas)[0]
        np.testing.assert_allclose(law, abs(state) ** 2, atol=tolerance)
    reversed_ = QaoaSimulator(qubo).probabilities(gammas, [-beta for beta in betas])[0]
    assert abs(reversed_ - abs(state) ** 2).max() > 1e-3  # the sign of the mixer matters


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("entangle", [True, False])
def test_distribution_is_that_of_the_qiskit_circuit(name, entangle):
    from qiskit.quantum_info import Statevector

    qubos, mixer, rng = make(name, 2)
    if not entangle and qubos[0].cardinality is not None:
        with pytest.raises(ProblemError, match="entangle=False"):
            qaoa_circuit(qubos[0], 2, mixer=mixer, entangle=False)
        return
    gammas, betas = rng.normal(0, 2, (2, 2, 3))
    phases = None if entangle else [unentangled(qubo) for qubo in qubos]
    simulator = QaoaSimulator(qubos, mixer=mixer, phases=phases, precision="complex128")
    law = full(simulator, simulator.probabilities(gammas, betas), qubos[0].n)
    circuit, parameters = qaoa_program(qubos, gammas, betas, mixer=mixer, entangle=entangle)
    for row, qubo in enumerate(qubos):
        state = Statevector(circuit.assign_parameters(parameters[row]))
        np.testing.assert_allclose(law[row], state.probabilities(), atol=1e-10)
        single, values = qaoa_program([qubo], gammas[row], betas[row], mixer=mixer, entangle=entangle)
        assert single.num_parameters <= 6
        state = Statevector(single.assign_parameters(values[0]))
        np.testing.assert_allclose(law[row], state.probabilities(), atol=1e-10)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_gradient_is_the_limit_of_differences(name, alpha):
    qubos, mixer, rng = make(name, 2)
    gammas, betas = rng.normal(0, 1.5, (2, 2, 3))
    simulator = QaoaSimulator(qubos, mixer=mixer, precision="complex128")
    values, by_gamma, by_beta = simulator.gradient(gammas, betas, alpha)
    np.testing.assert_allclose(values, simulator.value(gammas, betas, alpha), atol=1e-12)
    slopes = differences(simulator, gammas, betas, alpha)
    np.testing.assert_allclose(np.concatenate([by_gamma, by_beta], 1), slopes, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in CASES if "cardinality" not in name])
def test_tensors_agree_with_the_kernels(name):
    qubos, mixer, rng = make(name, 3)
    gammas, betas = rng.normal(0, 1.5, (2, 3, 2))
    ours = QaoaSimulator(qubos, mixer=mixer, precision="complex128")
    torch = QaoaSimulator(qubos, mixer=mixer, precision="complex128", device="cpu:0")
    np.testing.assert_allclose(torch.probabilities(gammas, betas), ours.probabilities(gammas, betas), atol=1e-13)
    for alpha in (1.0, 0.2):
        for one, two in zip(torch.gradient(gammas, betas, alpha), ours.gradient(gammas, betas, alpha), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-11)


@pytest.mark.parametrize(
    ("n", "precision"), [(8, "complex64"), (12, "complex64"), (13, "complex64"), (14, "complex128")]
)
def test_blocks_and_tiles_agree_with_tensors(n, precision):
    """Sizes at which the kernels go about it differently, with angles that invert the bits in some layers."""
    rng = np.random.default_rng(n)
    qubo = Qubo(rng.normal(size=(n, n)))
    tolerance = 2e-6 if precision == "complex64" else 1e-12
    torch = QaoaSimulator(qubo, precision="complex128", device="cpu:0")
    for layers in (1, 2, 5):
        gammas, betas = rng.normal(0, 1.5, (2, 3, layers))
        ours = QaoaSimulator(qubo, precision=precision, threads=2)
        np.testing.assert_allclose(
            ours.probabilities(gammas, betas), torch.probabilities(gammas, betas), atol=tolerance
        )
        for one, two in zip(ours.gradient(gammas, betas), torch.gradient(gammas, betas), strict=True):
            np.testing.assert_allclose(one, two, atol=300 * tolerance)


@pytest.mark.slow
def test_large_states_do_not_depend_on_threads():
    n = 19
    qubo = Qubo(np.random.default_rng(n).normal(size=(n, n)))
    gammas, betas = [0.9, 1.4, 2.0], [0.8, 0.5, 2.2]
    one, three = (QaoaSimulator(qubo, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one.probabilities(gammas, betas), three.probabilities(gammas, betas))
    results = one.gradient(gammas, betas), three.gradient(gammas, betas)
    for left, right in zip(*results, strict=True):
        np.testing.assert_array_equal(left, right)
    torch = QaoaSimulator(qubo, precision="complex128", device="cpu:0")
    for left, right in zip(results[0], torch.gradient(gammas, betas), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_gradient_is_that_of_pennylane():
    import pennylane as qml

    n, layers = 4, 2
    rng = np.random.default_rng(3)
    qubo = Qubo(rng.normal(size=(n, n)))
    fields, couplings, offset = qubo.to_ising()
    std = standardisation(qubo)[1]
    device = qml.device("default.qubit", wires=n)

    @qml.qnode(device)
    def circuit(gammas, betas):
        for i in range(n):
            qml.Hadamard(i)
        for gamma, beta in zip(gammas, betas, strict=True):
            for i in range(n):
                qml.RZ(2 * gamma * fields[i] / std, wires=i)
            for i in range(n):
                for j in range(i + 1, n):
                    qml.IsingZZ(2 * gamma * couplings[i, j] / std, wires=[i, j])
            for i in range(n):
                qml.RX(-2 * beta, wires=i)
        terms = [qml.Z(i) * fields[i] for i in range(n)]
        terms += [qml.Z(i) @ qml.Z(j) * couplings[i, j] for i in range(n) for j in range(i + 1, n)]
        return qml.expval(qml.sum(*terms))

    gammas, betas = rng.normal(size=(2, layers))
    angles = [qml.numpy.array(one, requires_grad=True) for one in (gammas, betas)]
    values, by_gamma, by_beta = QaoaSimulator(qubo, precision="complex128").gradient(gammas, betas)
    assert values[0] == pytest.approx(circuit(*angles) + offset, abs=1e-10)
    for ours, theirs in zip((by_gamma[0], by_beta[0]), qml.grad(circuit)(*angles), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_moments_are_those_of_the_feasible_energies(name):
    qubo = make(name, 1)[0][0]
    states = (np.arange(1 << qubo.n)[:, None] >> np.arange(qubo.n)) & 1
    energies = qubo.energy(states)[qubo.feasible(states)]
    mean, std = standardisation(qubo)
    assert mean == pytest.approx(energies.mean())
    assert std == pytest.approx(energies.std() if energies.std() > 1e-12 else 1.0)
    if qubo.cardinality is None:  # what single axes leave over is what couples them
        rest = energies - unentangled(qubo).energy(states)[qubo.feasible(states)]
        assert moments(qubo).pairs == pytest.approx(rest.var(), abs=1e-12)


def test_cvar_is_the_mean_of_the_lowest_part():
    qubo = make("x", 1)[0][0]
    simulator = QaoaSimulator(qubo, precision="complex128")
    gammas, betas, alpha = [1.2, 2.0], [0.6, 0.3], 0.15
    law = simulator.probabilities(gammas, betas)[0]
    order = np.argsort(qubo.diagonal())
    left, total = alpha, 0.0
    for state in order:
        part = min(left, law[state])
        total, left = total + part * qubo.diagonal()[state], left - part
    assert simulator.value(gammas, betas, alpha)[0] == pytest.approx(total / alpha)


def test_draws_follow_the_law():
    law = np.array([0.0, 0.5, 0.0, 0.3, 0.2, 0.0])
    numbers = draw(law, 20_000, np.random.default_rng(0))
    counts = np.bincount(numbers, minlength=6)
    assert counts[[0, 2, 5]].sum() == 0
    from scipy.stats import chisquare

    assert chisquare(counts[[1, 3, 4]], law[[1, 3, 4]] * 20_000).pvalue > 1e-3


def test_samples_have_their_energies_and_obey_constraints():
    qubos, mixer, rng = make("block and cardinality", 2)
    bits, energies = QaoaSimulator(qubos, mixer=mixer).sample(np.ones((2, 2)), np.ones((2, 2)), 50, rng)
    for row, qubo in enumerate(qubos):
        assert qubo.feasible(bits[row]).all()
        np.testing.assert_allclose(energies[row], qubo.energy(bits[row]))


def test_a_large_product_of_blocks():
    """30 qubits, 5^6 states."""
    blocks = [tuple(range(5 * block, 5 * block + 5)) for block in range(6)]
    qubo = Qubo(np.random.default_rng(0).normal(size=(30, 30)), one_hot=blocks)
    simulator = QaoaSimulator(qubo, precision="complex128")
    gammas, betas = np.array([[1.0, 1.5]]), np.array([[0.7, 0.3]])
    assert simulator.size == 5**6
    values, by_gamma, by_beta = simulator.gradient(gammas, betas)
    slopes = differences(simulator, gammas, betas, 1.0)
    np.testing.assert_allclose(np.concatenate([by_gamma, by_beta], 1), slopes, atol=1e-6)
    assert values[0] < simulator.mean[0]


def test_what_is_refused(monkeypatch):
    free, blocks = Qubo(np.eye(4)), Qubo(np.eye(4), one_hot=[(0, 1)])
    with pytest.raises(ProblemError, match="mixer=x"):
        QaoaSimulator(blocks, mixer="x")
    with pytest.raises(ProblemError, match="mixer=xy"):
        QaoaSimulator(free, mixer="xy")
    with pytest.raises(ProblemError, match="agree"):
        QaoaSimulator([free, blocks])
    with pytest.raises(ProblemError, match="warm_start"):
        mixer_of(Qubo(np.eye(4), cardinality=2), warm=np.ones(4))
    with pytest.raises(ProblemError, match="alpha=0"):
        QaoaSimulator(free).value([1.0], [1.0], 0.0)
    with pytest.raises(ProblemError, match="angles"):
        QaoaSimulator(free).value([1.0, 2.0], [1.0])
    with pytest.raises(ProblemError, match="NaN"):
        QaoaSimulator(free).value([np.nan], [1.0])
    with pytest.raises(ProblemError, match="cardinality"):
        QaoaSimulator(Qubo(np.eye(12), cardinality=6), device="cpu:0")
    from collections import namedtuple

    monkeypatch.setattr("psutil.virtual_memory", lambda: namedtuple("Memory", "available")(100))
    with pytest.raises(ProblemError, match="bytes"):
        QaoaSimulator(free)


@pytest.mark.parametrize(
    ("cores", "quota", "asked", "expected"),
    [
        (6, None, "", 6),
        (6, "max 100000", "", 6),
        (6, "250000 100000", "", 2),
        (6, "50000 100000", "", 1),
        (6, None, "4", 4),
        (6, None, "9", 6),
        (6, "250000 100000", "4", 2),
        (6, None, "4,2", 4),  # the second is for loops within loops
        (6, None, "0", 6),
    ],
)
def test_processors(tmp_path, monkeypatch, cores, quota, asked, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(processors, "_QUOTA", tmp_path / "cpu.max")
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert processors.processors() == expected
