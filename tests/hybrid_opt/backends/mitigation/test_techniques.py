"""Each technique against an exact law: closed forms and density matrices."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import CXGate, CZGate, ECRGate, iSwapGate
from qiskit.quantum_info import DensityMatrix, Operator, Pauli, SparsePauliOp

from benchmarks.mitigation import Depolarising, DepolarisingConfig
from hybrid_opt.backends.backend import CircuitProgram, Result
from hybrid_opt.backends.local.observables import bases
from hybrid_opt.backends.local.statevector import Statevector
from hybrid_opt.backends.mitigation import Mitigated
from hybrid_opt.backends.mitigation.channels import depolarised, overhead, places_of
from hybrid_opt.backends.mitigation.learned import near_clifford, with_free_angles
from hybrid_opt.backends.mitigation.pec import Pec, PecConfig
from hybrid_opt.backends.mitigation.twirling import LETTERS, _images, add_paulis, twirled
from hybrid_opt.backends.mitigation.virtual import TURN, Virtual, VirtualConfig
from hybrid_opt.backends.mitigation.zne import Zne, ZneConfig, folded, richardson
from hybrid_opt.errors import ProblemError
from tests.hybrid_opt.backends.mitigation.programs import exact, program
from tests.oracles.density_matrix import depolarised as with_noise
from tests.oracles.density_matrix import noisy_law
from tests.oracles.noisy_device import NoisyDevice


def mitigated(device: Any, text: str, asked: CircuitProgram, seed: int = 1) -> Result:
    result: Result = Mitigated(device, text).submit(asked, "key", seed).result()
    return result


@pytest.mark.parametrize(
    "text",
    [
        *("twirling", "readout", "zne", "zne(fit=richardson,scales=1/3/5)", "zne(fit=exponential,scales=1/3/5)"),
        *("zne(amplify=noise,p=0)", "pec(p=0)", "learned", "learned(per=circuit,circuits=5)", "virtual"),
        *("readout+virtual", "twirling(copies=2)+readout+zne+learned", "readout+pec(p=0)+learned"),
    ],
)
def test_exact_means_are_unchanged(text: str) -> None:
    """Also of observables in several bases, with a constant."""
    asked = program(None, "IIZ", "XIX", "YIZ") if "virtual" not in text else program(None, "IIZ", "XII", "IYI")
    mixed = SparsePauliOp(["III", "ZII", "IXI"], [0.5, -2.0, 0.25])
    asked = CircuitProgram(asked.circuit, asked.parameters, None, (*asked.observables, mixed))
    result = mitigated(Statevector(), text, asked)
    np.testing.assert_allclose(result.means, exact(asked), atol=1e-12)
    np.testing.assert_allclose(result.errors, 0, atol=1e-12)


@pytest.mark.parametrize(
    ("fit", "vendors", "scales"),
    [
        *(("linear", "linear", (1.0, 3.0)), ("linear", "linear", (1.0, 3.0, 5.0))),
        *(("richardson", "polynomial_degree_2", (1.0, 3.0, 5.0)), ("exponential", "exponential", (1.0, 3.0))),
    ],
)
def test_extrapolation_is_that_of_qiskit_mitigation(fit: Any, vendors: str, scales: tuple[float, ...]) -> None:
    """Of means that are equally sure, as the vendor weighs them."""
    from qiskit_mitigation.zne.extrapolation import _fit_extrapolation_models

    means = np.array([0.7, 0.42, 0.31])[: len(scales)]
    errors = 0.01 * (means if fit == "exponential" else np.ones_like(means))
    results = [Result(means=np.full((1, 1), m), errors=np.full((1, 1), e)) for m, e in zip(means, errors, strict=True)]
    found = Zne(ZneConfig(scales, fit))._combine(results)
    value, _ = _fit_extrapolation_models(means, errors, scales, [vendors])
    np.testing.assert_allclose(found.means, value, rtol=1e-6)


def test_readout_undoes_the_confusion() -> None:
    """Exact probabilities of bits that are wrong independently of each other."""
    asked = program(None, "IIZ", "ZZZ", "XYI")
    result = mitigated(NoisyDevice(0, 0.1, 0.2), "readout", asked)
    np.testing.assert_allclose(result.means, exact(asked), atol=1e-12)


def test_readout_leaves_the_noise_of_gates() -> None:
    """Oracle: a density matrix. The x gates of the calibration err, too, with chance p / 10."""
    asked, p = program(None, "IIZ"), 0.02
    result = mitigated(NoisyDevice(p, 0.1, 0.2), "readout", asked)
    laws = [noisy_law(asked.circuit.assign_parameters(row), p) for row in asked.parameters]
    expected = [law @ (1.0 - 2.0 * (np.arange(8) & 1)) for law in laws]
    np.testing.assert_allclose(result.means[:, 0], expected, atol=2 * p / 10)


def test_means_beyond_one_are_not_clipped() -> None:
    """Of |0>, half of the corrected means exceed 1; clipped, the average would be below it."""
    flat = CircuitProgram(QuantumCircuit(1), np.empty((400, 0)), 50, (SparsePauliOp("Z"),))
    result = mitigated(NoisyDevice(0, 0.2, 0.2), "readout(share=0.5)", flat)
    assert result.means.max() > 1.05 and abs(result.means.mean() - 1) < 0.03  # 6 standard errors of the calibration


@pytest.mark.parametrize(("power", "left"), [(-1.0, 0.0), (1.0, 2.0), (0.5, 1.5)])
@pytest.mark.parametrize("qubits", [(0,), (0, 1)])
def test_paulis_undo_noise_and_add_to_it(qubits: tuple[int, ...], power: float, left: float) -> None:
    """Oracle: a random density matrix. Noise of power `left` shrinks each Pauli by f^left."""
    circuit = QuantumCircuit(2)
    circuit.cz(0, 1) if len(qubits) == 2 else circuit.h(0)
    (place,) = depolarised(Pec(PecConfig()), circuit, 0.2 if len(qubits) == 2 else 1.0)
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4))
    pure = DensityMatrix(root @ root.conj().T / np.trace(root @ root.conj().T))
    noisy = with_noise(pure, list(qubits), 0.2 if len(qubits) == 2 else 0.1)
    found = np.zeros((4, 4), complex)
    for code, weight in enumerate(place.weights(power)):
        paulis = QuantumCircuit(2)
        add_paulis(paulis, [paulis.qubits[qubit] for qubit in qubits], code)
        found += weight * noisy.evolve(Operator(paulis)).data
    for label in map("".join, product("IXYZ", repeat=2)):
        pauli, touched = Pauli(label), any(label[1 - q] != "I" for q in qubits)
        f = place.fidelities[-1] if touched else 1.0
        expected = f**left * np.trace(pure.data @ pauli.to_matrix())
        assert np.trace(found @ pauli.to_matrix()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
def test_pec_is_unbiased_and_tells_its_error() -> None:
    """Known noise by a density matrix; the distance in standard errors has mean square 1, to six of its own."""
    asked = program(2000, "IZ", "ZI", "XX", sets=4)
    off = mitigated(NoisyDevice(0.1), "pec(p=0.1)", asked)
    raw = NoisyDevice(0.1).submit(asked, "raw", 1).result()
    z = (off.means - exact(asked)) / off.errors
    assert np.mean(z**2) < 1 + 6 * np.sqrt(2 / 12)
    assert np.abs(raw.means - exact(asked)).mean() > np.abs(off.means - exact(asked)).mean()


def test_pec_reads_the_noise_of_a_program() -> None:
    """The same Paulis as a model of qiskit-aer and by p; other noise is refused."""
    from qiskit_aer.noise import NoiseModel, amplitude_damping_error, depolarizing_error

    noise = NoiseModel()
    noise.add_all_qubit_quantum_error(depolarizing_error(0.1 * 16 / 15, 2), ["cz"])
    noise.add_all_qubit_quantum_error(depolarizing_error(0.01 * 4 / 3, 1), ["ry"])
    pec = Pec(PecConfig())
    found = places_of(pec, program(100, noise=noise), None)
    expected = places_of(pec, program(100), 0.1)
    assert overhead([each.weights(-1) for each in found]) == pytest.approx(
        overhead([each.weights(-1) for each in expected]), rel=1e-9
    )
    noise.add_all_qubit_quantum_error(amplitude_damping_error(0.1), ["rz"])
    with pytest.raises(ProblemError, match=r"^mitigation=pec: the noise of rz is no Pauli channel"):
        places_of(pec, program(100, noise=noise), None)


@pytest.mark.parametrize(("k", "gates"), [(1, 3), (2, 15)])
def test_gamma_is_the_closed_form(k: int, gates: int) -> None:
    """Source: Temme, Bravyi, Gambetta 2017: (15 / f - 7) / 8 on two qubits, (3 / f - 1) / 2 on one."""
    circuit, p = QuantumCircuit(2), 0.03
    circuit.cz(0, 1) if k == 2 else circuit.x(0)
    asked = CircuitProgram(circuit, np.empty((1, 0)), 1000, (SparsePauliOp("IZ"),))
    found = Pec(PecConfig(p=p if k == 2 else 10 * p)).expand(asked, 0).about["overhead"]
    f = 1 - p * (gates + 1) / gates
    gamma = (15 / f - 7) / 8 if k == 2 else (3 / f - 1) / 2
    assert found == pytest.approx(gamma**2, rel=1e-12)


def test_folding_multiplies_depolarising_noise() -> None:
    """Oracle: n gates with noise shrink <ZZ> by f^n, so an exponential fit is exact, and a linear one is known."""
    circuit, p = QuantumCircuit(2), 0.05
    for _ in range(4):
        circuit.cz(0, 1)
    asked = CircuitProgram(circuit, np.empty((1, 0)), None, (SparsePauliOp("ZZ"),))
    f = (1 - 16 * p / 15) ** 4
    assert NoisyDevice(p).submit(asked, "raw").result().means[0, 0] == pytest.approx(f, rel=1e-12)
    for text, expected in (
        ("zne", 1.5 * f - 0.5 * f**3),
        ("zne(fit=exponential)", 1.0),
        ("zne(fit=richardson,scales=1/3/5)", 15 / 8 * f - 10 / 8 * f**3 + 3 / 8 * f**5),
    ):
        assert mitigated(NoisyDevice(p), text, asked).means[0, 0] == pytest.approx(expected, rel=1e-12)


def test_coefficients_sum_to_one_and_meet_polynomials() -> None:
    """Richardson's fit through k scales is exact for polynomials of degree k - 1."""
    scales = np.array([1.0, 1.5, 2.0, 3.0])
    for degree in range(4):
        assert richardson(scales) @ scales**degree == pytest.approx(0.0**degree, abs=1e-9)


@pytest.mark.slow
def test_folded_circuits_are_the_same_and_stay_so_when_they_are_compiled() -> None:
    """Nothing of them is removed on the way to a device."""
    from hybrid_opt.backends import open_backend

    device = open_backend("ibm:fake_torino")
    native = device.native(program(10))
    bare = native.circuit.assign_parameters(native.parameters[0])
    for scale in (3, 5):
        many = folded(Zne(ZneConfig()), bare, scale)
        assert Operator(many).equiv(Operator(bare))
        asked = CircuitProgram(many, np.empty((1, 0)), 10, native.observables, None, native.layout)
        count, once = (device.transpiled(each).count_ops() for each in (asked, CircuitProgram(bare, *_of(asked))))
        assert count["cz"] == scale * once["cz"] and count["sx"] == scale * once["sx"]


def _of(asked: CircuitProgram) -> tuple[Any, ...]:
    return asked.parameters, asked.shots, asked.observables, None, asked.layout


@pytest.mark.parametrize("gate", [CZGate(), CXGate(), ECRGate(), iSwapGate()])
def test_twirls_are_the_gate(gate: Any) -> None:
    """Oracle: matrices."""
    images = _images(gate.name, type(gate))
    assert images is not None and sorted(images) == list(range(16))
    for code, image in enumerate(images):
        before, after = (Pauli(LETTERS[each >> 2] + LETTERS[each & 3]).to_matrix() for each in (code, image))
        made = after @ gate.to_matrix() @ before
        assert abs(np.trace(made.conj().T @ gate.to_matrix())) == pytest.approx(4, abs=1e-12)


def test_twirled_circuits_differ_and_do_the_same() -> None:
    asked = program(10, layers=3)
    circuit = asked.circuit.assign_parameters(asked.parameters[0])
    circuit.rzz(0.3, 0, 1)  # no Clifford gate: it stays alone
    copies = [twirled(circuit, np.random.default_rng(seed)) for seed in range(4)]
    assert all(Operator(copy).equiv(Operator(circuit)) for copy in copies)
    assert len({str(copy.count_ops()) for copy in copies}) > 1


def test_the_benchmarks_noise_is_that_of_a_density_matrix() -> None:
    """Pauli means against density matrices, with a read-out that errs."""
    asked = program(None, layers=3)
    laws = Depolarising(DepolarisingConfig(p=0.1, zero=0.1, one=0.2))._laws(asked.circuit, asked.parameters)
    device = NoisyDevice(0.1, 0.1, 0.2)
    expected = [device.law(asked.circuit.assign_parameters(row)) for row in asked.parameters]
    np.testing.assert_allclose(laws, expected, atol=1e-12)


def test_virtual_distillation_squares_the_state() -> None:
    """Oracle: Tr(O rho^2) / Tr(rho^2) of a noisy density matrix, whose two copies are turned without noise."""
    asked = program(None, "IZ", "ZI", "XI", "IY", sets=1)
    state = DensityMatrix(asked.circuit.assign_parameters(asked.parameters[0]))
    state = with_noise(with_noise(state, [0, 1], 0.2), [1], 0.1)
    square = state.data @ state.data
    expected = [np.real(np.trace(o.to_matrix() @ square) / np.trace(square)) for o in asked.observables]
    expansion = Virtual(VirtualConfig()).expand(asked, 0)
    results = list[Result]()
    for each, basis in zip(expansion.programs, bases(asked.observables), strict=True):
        turned = state.evolve(Operator(basis.rotate(QuantumCircuit(2))))
        both = turned.tensor(turned)
        for qubit in range(2):
            both = both.evolve(Operator(TURN), [qubit, qubit + 2])
        means = [[np.real(both.expectation_value(observable)) for observable in each.observables]]
        results.append(Result(means=np.array(means)))
    np.testing.assert_allclose(expansion.combine(results).means[0], expected, atol=1e-12)


@pytest.mark.parametrize("text", ["learned(circuits=8)", "learned(per=circuit,circuits=8)"])
def test_errors_of_the_read_out_are_learned_exactly(text: str) -> None:
    """A wrong bit changes <Z> by a line, which a fit without shots finds."""
    asked = program(None, "IIZ", "IZI")
    result = mitigated(NoisyDevice(0, 0.1, 0.2), text, asked)
    np.testing.assert_allclose(result.means, exact(asked), atol=1e-10)


def test_a_fit_is_paid_once_for_a_layer() -> None:
    backend = Mitigated(NoisyDevice(0.05, 0.1, 0.2), "learned(shots=4000,circuits=10)")
    first, second = program(500, sets=3), program(500, sets=5, seed=1)
    second = CircuitProgram(first.circuit, second.parameters, 500, first.observables)
    results = [backend.submit(each, str(seed), seed).result() for seed, each in enumerate((first, second))]
    assert [result.cost.shots for result in results] == [5500, 2500]
    assert [result.about["calibration_shots"] for result in results] == [4000, 0]
    raw = NoisyDevice(0.05, 0.1, 0.2).submit(second, "raw", 1).result()
    assert np.abs(results[1].means - exact(second)).mean() < np.abs(raw.means - exact(second)).mean()


def test_near_clifford_circuits_have_ideals_that_teach() -> None:
    asked = with_free_angles(program(None, layers=4))
    chosen = near_clifford(asked, 6, np.random.default_rng(0))
    ideals = np.abs(exact(CircuitProgram(asked.circuit, chosen, None, asked.observables)))  # [P T, m]
    assert ideals.max(0).min() > 0.5
    quarter = np.isclose(chosen / (np.pi / 2), np.round(chosen / (np.pi / 2)))
    assert 0.6 < quarter.mean() < 0.9


@pytest.mark.parametrize(
    "text",
    [
        *("twirling", "readout", "zne", "zne(fit=exponential)", "readout+virtual"),
        "readout+zne+learned(circuits=10)",
    ],
)
def test_told_errors_are_those_that_happen(text: str) -> None:
    """Distances from what many shots give, in standard errors. A mean square is at most 1, to six of its own errors."""
    asked = program(400, "IIZ", "IZI", sets=100, layers=4)
    result = (
        Mitigated(NoisyDevice(0, 0.05, 0.1) if text == "readout" else Statevector(), text)
        .submit(asked, "key", 5)
        .result()
    )
    ideal = exact(asked)
    usual = np.abs(ideal) < 0.9  # close to 1 the law of a mean is skewed
    z = ((result.means - ideal) / result.errors)[usual]
    assert len(z) > 150 and np.mean(z**2) < 1 + 6 * np.sqrt(2 / len(z))
    assert np.mean(z**2) > 0.3
