"""Noise models against Kraus operators of textbooks, closed forms, density matrices of our own and those of Aer."""

from typing import Any

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.quantum_info import Kraus, SuperOp

from hybrid_opt import CircuitLayer, ProblemError, Qubo, make_solver
from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import CircuitProgram
from hybrid_opt.backends.noise import NOISES, noise_of
from hybrid_opt.circuits.qaoa import qaoa_program
from hybrid_opt.circuits.vqe import vqe_circuit
from tests.oracles.density_matrix import depolarising, each_qubit, noisy_law

ROWS = 20000
X, Y, Z = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])


def amplitude(p: float) -> list[Any]:
    return [np.array([[1, 0], [0, np.sqrt(1 - p)]]), np.array([[0, np.sqrt(p)], [0, 0]])]


def twirled(p: float) -> list[Any]:
    """The Pauli twirl of amplitude damping (Geller and Zhou 2013, arXiv 1305.2021)."""
    z = (1 - np.sqrt(1 - p)) ** 2 / 4
    return [np.sqrt(1 - p / 2 - z) * np.eye(2), np.sqrt(p / 4) * X, np.sqrt(p / 4) * Y, np.sqrt(z) * Z]


def phase(p: float) -> list[Any]:
    return [np.diag([1, np.sqrt(1 - p)]), np.diag([0, np.sqrt(p)])]


def flipped(law: Any, zero: float, one: float) -> Any:
    """What is read, by one confusion matrix of all qubits."""
    whole = np.eye(1)
    while len(whole) < len(law):
        whole = np.kron(whole, np.array([[1 - zero, one], [zero, 1 - one]]))
    return whole @ law


TEXTBOOK = {
    "depolarizing": depolarising,
    "amplitude_damping": lambda p: each_qubit(amplitude, p),
    "phase_damping": lambda p: each_qubit(phase, p),
}


def exact(circuit: QuantumCircuit, model: Any) -> Any:
    program = CircuitProgram(circuit, np.zeros((1, 0)), noise=model.aer())
    return open_backend("aer").submit(program, "key", 1).result().probabilities[0]


def a_circuit(seed: int = 0) -> QuantumCircuit:
    """Runs of several gates, which Aer may only count once, on three qubits."""
    angle = np.random.default_rng(seed).uniform(-3, 3, 12)
    circuit = QuantumCircuit(3)
    for layer in range(2):
        for q in range(3):
            circuit.rx(angle[6 * layer + q], q)
            circuit.rz(angle[6 * layer + 3 + q], q)
        circuit.cx(layer, layer + 1)
        circuit.cz(0, 2)
    circuit.rzz(0.4, 0, 1)
    circuit.h([0, 1, 2])
    return circuit


@pytest.mark.parametrize("p", [0.0, 0.03, 0.5])
@pytest.mark.parametrize("name", TEXTBOOK)
def test_channels_of_one_qubit_are_those_of_textbooks(name: str, p: float) -> None:
    model = NOISES.find(name, "noise")(NOISES.configured(name, "noise", {"p": p})[1])
    small = p / 10
    depolarized = [np.sqrt(1 - small) * np.eye(2), *(np.sqrt(small / 3) * pauli for pauli in (X, Y, Z))]
    expected = {"depolarizing": depolarized, "amplitude_damping": amplitude(small), "phase_damping": phase(small)}
    np.testing.assert_allclose(SuperOp(Kraus(list(model.kraus(1)))), SuperOp(Kraus(expected[name])), atol=1e-12)
    for qubits in (1, 2):
        whole = sum(k.conj().T @ k for k in model.kraus(qubits))
        np.testing.assert_allclose(whole, np.eye(1 << qubits), atol=1e-12)
        np.testing.assert_allclose(model.paulis(qubits).sum(), 1.0)
    assert (noise_of({"name": name, "p": p}) is None) == (p == 0)


def test_the_twirl_of_amplitude_damping_is_the_closed_form() -> None:
    """Of p on each of two qubits, and of p / 10 on one: I, X, Z, Y in the order of bits."""
    p = 0.3
    found = noise_of({"name": "amplitude_damping", "p": p})
    assert found is not None

    def chances(p: float) -> Any:
        operators = twirled(p)
        return np.array([abs(operators[k].flat[np.abs(operators[k]).argmax()]) ** 2 for k in (0, 1, 3, 2)])

    np.testing.assert_allclose(found.paulis(1), chances(p / 10), atol=1e-12)
    np.testing.assert_allclose(found.paulis(2), np.kron(chances(p), chances(p)), atol=1e-12)


@pytest.mark.parametrize("name", TEXTBOOK)
def test_aer_gives_the_density_matrix(name: str) -> None:
    model, circuit = noise_of({"name": name, "p": 0.1}), a_circuit()
    np.testing.assert_allclose(exact(circuit, model), noisy_law(circuit, TEXTBOOK[name](0.1)), atol=1e-9)


def test_aer_misreads_bits() -> None:
    model, circuit = noise_of({"name": "readout", "p": 0.1, "p10": 0.3}), a_circuit()
    bits = open_backend("aer").submit(CircuitProgram(circuit, np.zeros((1, 0)), 40000, noise=model.aer()), "key", 1)
    states = bits.result().samples[0].astype(int) @ (1 << np.arange(3))
    law = flipped(noisy_law(circuit, 0.0), 0.1, 0.3)
    assert np.abs(np.bincount(states, minlength=8) / 40000 - law).max() < 4.5 * np.sqrt(0.25 / 40000)


@pytest.mark.parametrize("encoding", ["angle", "iqp"])
@pytest.mark.parametrize("name", TEXTBOOK)
def test_rows_of_a_layer_are_on_average_the_density_matrix(name: str, encoding: str) -> None:
    """4.5 standard errors. Amplitude damping is twirled."""
    torch.manual_seed(0)
    p = 0.2
    layer = CircuitLayer(3, None, 3, 2, encoding, observables="probabilities", noise={"name": name, "p": p})
    x = torch.randn(3)
    with torch.no_grad():
        y = layer(x.expand(ROWS, -1))
    error = each_qubit(twirled, p) if name == "amplitude_damping" else TEXTBOOK[name](p)
    away = (y.mean(0) - torch.tensor(noisy_law(layer.circuit(x), error))).abs()
    assert (away <= 4.5 * y.std(0) / ROWS**0.5 + 1e-5).all()
    clean = torch.tensor(noisy_law(layer.circuit(x), 0.0))
    assert (y.mean(0) - clean).abs().max() > 10 * y.std(0).max() / ROWS**0.5


@pytest.mark.parametrize("observables", ["z", "zz", "probabilities"])
def test_readout_errors_of_a_layer_are_exact(observables: str) -> None:
    torch.manual_seed(0)
    noise = {"name": "readout", "p": 0.05, "p10": 0.2}
    layer = CircuitLayer(3, None, 3, 2, observables=observables, noise=noise).double()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    laws = np.stack([flipped(noisy_law(layer.circuit(row), 0.0), 0.05, 0.2) for row in x.detach()])
    np.testing.assert_allclose(layer(x).detach(), laws @ layer.plan.parity.numpy(), atol=1e-9)
    assert torch.autograd.gradcheck(layer, x)
    if observables == "z":
        clean = CircuitLayer(3, None, 3, 2).double()
        clean.load_state_dict(layer.state_dict())
        torch.testing.assert_close(layer(x), 0.75 * clean(x) + 0.15)


def test_shots_of_a_layer_are_misread() -> None:
    torch.manual_seed(0)
    layer = CircuitLayer(2, None, 2, 1, observables="probabilities", noise={"name": "readout", "p": 0.1}, shots=8)
    x = torch.randn(2)
    with torch.no_grad():
        y = layer(x.expand(ROWS, -1))
    law = torch.tensor(flipped(noisy_law(layer.circuit(x), 0.0), 0.1, 0.1))
    assert ((y.mean(0) - law).abs() <= 4.5 * y.std(0) / ROWS**0.5 + 1e-5).all()


@pytest.mark.parametrize("none", [None, 0.0, 0, "none", {"name": "none"}, {"name": "readout", "p": 0.0}])
def test_no_noise_costs_nothing(none: Any) -> None:
    """The same kernels, and no random number is drawn."""
    outputs = []
    for noise in ({}, {"noise": none}):
        torch.manual_seed(3)
        layer = CircuitLayer(3, 3, 3, **noise)
        assert layer._plain
        outputs.append((layer(torch.randn(5, 3)), torch.rand(1)))
    assert all(map(torch.equal, *outputs))
    qubo = Qubo(np.random.default_rng(0).normal(size=(5, 5)))
    found = [make_solver("qaoa", layers=1, shots=16, **noise).solve(qubo).samples for noise in ({}, {"noise": none})]
    np.testing.assert_array_equal(*found)


def a_qubo(n: int = 4) -> Qubo:
    return Qubo(np.random.default_rng(2).normal(size=(n, n)))


def frequencies(samples: Any) -> Any:
    n = samples.shape[1]
    return np.bincount(samples.astype(int) @ (1 << np.arange(n)), minlength=1 << n) / len(samples)


@pytest.mark.parametrize("name", TEXTBOOK)
@pytest.mark.parametrize("backend", ["statevector", "aer"])
def test_qaoa_samples_the_density_matrix(name: str, backend: str) -> None:
    shots, qubo, noise = 20000, a_qubo(), {"name": name, "p": 0.1}
    solution = make_solver("qaoa", layers=2, shots=shots, angles="ramp", noise=noise, backend=backend).solve(qubo, 1)
    asked = qubo.clipped().centred()
    circuit, values = qaoa_program([asked], solution.angles[:1], solution.angles[1:])
    law = noisy_law(circuit.assign_parameters(values[0]), TEXTBOOK[name](0.1))
    assert np.abs(frequencies(solution.samples) - law).max() < 4.5 * np.sqrt(law.max() / shots)
    clean = noisy_law(circuit.assign_parameters(values[0]), 0.0)
    assert np.abs(frequencies(solution.samples) - clean).max() > 4.5 * np.sqrt(clean.max() / shots)


def test_vqe_trains_and_samples_in_the_noise() -> None:
    shots, qubo = 20000, a_qubo()
    solver = make_solver("vqe", layers=2, shots=shots, steps=3, noise={"name": "depolarizing", "p": 0.1})
    solution = solver.solve(qubo, seed=1)
    assert solver.backend is not None and solver.backend.name == "aer"
    circuit = vqe_circuit(4, 2).assign_parameters(solution.angles.ravel())
    law = noisy_law(circuit, 0.1)
    assert np.abs(frequencies(solution.samples) - law).max() < 4.5 * np.sqrt(law.max() / shots)


def test_the_noise_of_a_device_is_that_of_its_calibration() -> None:
    """Medians over couplings and qubits of fake_manila, as its target states them."""
    from hybrid_opt.backends.qiskit.fake_ibm import fake_device

    target = fake_device("fake_manila").target
    pairs = np.median([about.error for about in target["cx"].values()])
    bits = np.median([about.error for about in target["measure"].values()])
    model = noise_of({"name": "device", "device": "fake_manila"})
    assert model is not None
    assert 1 - model.paulis(2)[0] == pytest.approx(pairs * 5 / 4) and model.flips == pytest.approx((bits, bits))
    scaled = noise_of({"name": "device", "device": "fake_manila", "p": 2.5 * pairs})
    assert scaled is not None and scaled.flips[0] == pytest.approx(2 * bits)
    assert 1 - scaled.paulis(1)[0] == pytest.approx(2 * (1 - model.paulis(1)[0]))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: noise_of("depolarising"), "noise=depolarising: no such noise model; did you mean depolarizing?"),
        (lambda: noise_of({"name": "readout", "p": 0.6}), "noise.p=0.6: input should be less than or equal to 0.5"),
        (lambda: noise_of({"name": "phase_damping", "q": 1}), "noise.q: no such option of phase_damping"),
        (lambda: noise_of({"name": "device", "device": "x"}), "noise.device=x: no such fake device"),
        (
            lambda: noise_of({"name": "none", "p": 0.1}),
            "noise.p=0.1: noise=none has no options; noise=amplitude_damping",
        ),
        (lambda: CircuitLayer(2, 2, 2, noise="x"), "noise=x: no such noise model (accepted: none, amplitude_damping"),
        (lambda: make_solver("exact", noise="depolarizing"), "noise=depolarizing: solver=exact has no circuits"),
        (
            lambda: make_solver("qaoa", noise="depolarizing", backend="aer?noise=fake_manila"),
            "backend=aer?noise=fake_manila: has noise of its own, beside noise=depolarizing; one of them is accepted",
        ),
        (
            lambda: make_solver("qaoa", noise="readout", backend=open_backend("aer", noise="fake_manila")),
            "backend=aer: has noise of its own, beside noise=readout; one of them is accepted",
        ),
        (
            lambda: make_solver("vqe", noise="readout", backend="lightning"),
            "noise=readout: backend=lightning takes none; statevector and aer are accepted",
        ),
    ],
)
def test_what_is_refused_is_one_line(make: Any, line: str) -> None:
    with pytest.raises(ProblemError) as caught:
        make()
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)
