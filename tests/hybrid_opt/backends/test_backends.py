"""Backends of circuits, against qiskit's own state vectors."""

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit.library import DiagonalGate, MCPhaseGate, RXXGate, UnitaryGate, XXPlusYYGate
from qiskit.providers.basic_provider import BasicSimulator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector, random_unitary

from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import Backend, CircuitProgram, Result
from hybrid_opt.errors import BackendError, Cancelled, ProblemError

Floats = NDArray[np.float64]
EXACT = ["statevector", "lightning", "aer", "pennylane:default.qubit"]


def qaoa(n: int, rng: np.random.Generator, layers: int = 2) -> QuantumCircuit:
    gammas, betas = ParameterVector("gamma", layers), ParameterVector("beta", layers)
    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    for layer in range(layers):
        for i in range(n):
            circuit.rz(2 * rng.normal() * gammas[layer], i)
            for j in range(i):
                circuit.rzz(2 * rng.normal() * gammas[layer], i, j)
        circuit.rx(-2 * betas[layer], range(n))
    return circuit


def vqe(n: int, rng: np.random.Generator) -> QuantumCircuit:
    angles = ParameterVector("theta", 2 * n)
    circuit = QuantumCircuit(n)
    for layer in range(2):
        for i in range(n):
            circuit.ry(angles[layer * n + i], i)
        for i in range(n - 1):
            circuit.cz(i, i + 1)
    return circuit


def grover(n: int, rng: np.random.Generator) -> QuantumCircuit:
    marked = int(rng.integers(1 << n))
    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    for _ in range(2):
        for target in (marked, 0):
            flips = [i for i in range(n) if not (target >> i) & 1]
            if target == 0:
                circuit.h(range(n))
            for i in flips:
                circuit.x(i)
            circuit.append(MCPhaseGate(np.pi, n - 1), range(n))
            for i in flips:
                circuit.x(i)
            if target == 0:
                circuit.h(range(n))
    return circuit


def gate_zoo(n: int, rng: np.random.Generator) -> QuantumCircuit:
    """Every way of lowering a gate: expressions, controls on 0 and 1, matrices, definitions, nested blocks."""
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    circuit.u(a, b, 0.3, 0)
    circuit.u(0.2, 2 * a - b + 0.7, b, 1)
    circuit.rz(a * b, 1)  # not linear
    circuit.p(a.sin(), 0)
    circuit.cry(b, 0, 2, ctrl_state=0)
    circuit.crz(a, 2, 0)
    circuit.cp(b, 1, 2)
    circuit.mcp(a, [0, 1], 2)
    circuit.ccx(0, 2, 1, ctrl_state=1)
    circuit.cu(a, 0.1, b, 0.4, 0, 1)
    circuit.append(RXXGate(a), [2, 0])
    circuit.append(XXPlusYYGate(b, 0.2), [1, 2])
    circuit.append(UnitaryGate(random_unitary(8, seed=int(rng.integers(99)))), [2, 0, 1])
    circuit.append(UnitaryGate(random_unitary(2, seed=1)).control(2, ctrl_state=2), [2, 0, 1])
    circuit.append(DiagonalGate(list(np.exp(1j * rng.normal(size=8)))), [1, 2, 0])
    circuit.swap(0, 2)
    block = QuantumCircuit(2, name="block")
    block.rx(b, 0)
    block.ecr(0, 1)
    circuit.append(block.to_gate(), [2, 1])
    circuit.barrier()
    circuit.h(range(n))
    return circuit


def laws(circuit: QuantumCircuit, parameters: Floats) -> list[Floats]:
    """The oracle: qiskit's simulation of each bound circuit; entry k is state k with bit i = qubit i."""
    return [Statevector(circuit.assign_parameters(values)).probabilities() for values in parameters]


def sets(circuit: QuantumCircuit, rng: np.random.Generator, count: int = 3) -> Floats:
    return rng.normal(size=(count, circuit.num_parameters))


def run(backend: Backend, program: CircuitProgram, seed: int = 0) -> Result:
    return backend.submit(program, "key", seed).result()


def counted(bits: NDArray[np.uint8]) -> Floats:
    """Frequencies [2^n] of bits [S, n]."""
    n = bits.shape[1]
    return np.bincount(bits.astype(np.int64) @ (1 << np.arange(n)), minlength=1 << n) / len(bits)


def distance(a: Floats, b: Floats) -> float:
    """Total variation."""
    return float(np.abs(a - b).sum() / 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("kind", [qaoa, vqe, grover, gate_zoo])
@pytest.mark.parametrize("n", [3, 6])
def test_exact_laws_agree_with_qiskit(name: str, kind: Any, n: int) -> None:
    if kind is gate_zoo and n != 3:
        n = 4
    rng = np.random.default_rng(n)
    circuit = kind(n, rng)
    parameters = sets(circuit, rng)
    result = run(open_backend(name), CircuitProgram(circuit, parameters))
    for law, expected in zip(result.probabilities, laws(circuit, parameters), strict=True):
        assert np.abs(law - expected).max() < 1e-9
    assert len(result.probabilities) == 3 and result.cost.circuits == 3 and result.cost.shots == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("kind", [qaoa, vqe, grover])
def test_exact_laws_agree_at_ten_qubits(name: str, kind: Any) -> None:
    rng = np.random.default_rng(10)
    circuit = kind(10, rng)
    parameters = sets(circuit, rng, 2)
    result = run(open_backend(name), CircuitProgram(circuit, parameters))
    for law, expected in zip(result.probabilities, laws(circuit, parameters), strict=True):
        assert np.abs(law - expected).max() < 1e-9


@pytest.mark.parametrize("name", EXACT)
def test_samples_follow_the_law_and_the_seed(name: str) -> None:
    rng = np.random.default_rng(1)
    circuit = qaoa(4, rng)
    program = CircuitProgram(circuit, sets(circuit, rng, 2), shots=4000)
    backend = open_backend(name)
    first, again, other = run(backend, program, 0), run(open_backend(name), program, 0), run(backend, program, 1)
    for bits, expected in zip(first.samples, laws(circuit, program.parameters), strict=True):
        assert bits.shape == (4000, 4) and bits.dtype == np.uint8
        # E[TV] <= sqrt(2^n / S) / 2 = 0.032; 4 standard deviations (<= 1 / (2 sqrt(S))) above
        assert distance(counted(bits), expected) < 0.065
    assert all(np.array_equal(a, b) for a, b in zip(first.samples, again.samples, strict=True))
    assert not np.array_equal(first.samples[0], other.samples[0])
    assert not np.array_equal(first.samples[0], first.samples[1])
    assert first.cost.shots == 8000 and first.cost.circuits == 2


@pytest.mark.parametrize("name", [*EXACT, "ibm:fake_manila"])
def test_bit_i_is_qubit_i(name: str) -> None:
    circuit = QuantumCircuit(5)
    circuit.x([0, 1, 3])
    result = run(open_backend(name), CircuitProgram(circuit, np.zeros((2, 0)), shots=200))
    for bits in result.samples:  # noise of the fake device is below 10 % a qubit
        assert np.array_equal(bits.mean(0) > 0.8, [True, True, False, True, False])
        assert np.array_equal(bits.mean(0) < 0.2, [False, False, True, False, True])


@pytest.mark.parametrize("name", EXACT)
def test_means_are_exact_or_within_their_errors(name: str) -> None:
    rng = np.random.default_rng(2)
    circuit = qaoa(3, rng)
    parameters = sets(circuit, rng, 4)
    observables = (
        SparsePauliOp(["ZZI", "IZZ", "III", "XII"], [0.5, -1.0, 2.0, 0.3]),
        SparsePauliOp(["YIX", "IIZ"], [0.7, 1.1]),
    )
    states = [Statevector(circuit.assign_parameters(values)) for values in parameters]
    expected = np.array([[state.expectation_value(o).real for o in observables] for state in states])
    exact = run(open_backend(name), CircuitProgram(circuit, parameters, observables=observables))
    assert exact.means is not None and exact.errors is not None
    assert np.abs(exact.means - expected).max() < 1e-9 and not exact.errors.any()
    sampled = run(open_backend(name), CircuitProgram(circuit, parameters, 2000, observables))
    assert sampled.means is not None and sampled.errors is not None
    assert (sampled.errors > 0).all() and sampled.errors.max() < 4 / np.sqrt(2000)
    assert (np.abs(sampled.means - expected) < 5 * sampled.errors).all()


def test_standard_errors_are_those_of_repeated_runs() -> None:
    rng = np.random.default_rng(3)
    circuit = qaoa(3, rng)
    program = CircuitProgram(circuit, sets(circuit, rng, 1), 100, (SparsePauliOp(["ZZI", "IZZ", "XII"]),))
    backend = open_backend("statevector")
    results = [run(backend, program, seed) for seed in range(200)]
    spread = np.std([result.means for result in results])
    claimed = np.mean([result.errors for result in results])
    assert abs(spread / claimed - 1) < 0.2  # 4 standard deviations of a standard deviation of 200


def test_aer_takes_noise_as_samples_and_as_a_density_matrix() -> None:
    from qiskit_aer.noise import NoiseModel, depolarizing_error

    noise = NoiseModel()
    noise.add_all_qubit_quantum_error(depolarizing_error(0.2, 1), ["x"])
    circuit = QuantumCircuit(2)
    circuit.x(0)
    backend = open_backend("aer")
    law = run(backend, CircuitProgram(circuit, np.zeros((1, 0)), noise=noise)).probabilities[0]
    assert np.allclose(law, [0.1, 0.9, 0, 0])  # depolarizing with p leaves p/2 in the wrong state
    bits = run(backend, CircuitProgram(circuit, np.zeros((1, 0)), 4000, noise=noise)).samples[0]
    assert abs(bits[:, 0].mean() - 0.9) < 4 * np.sqrt(0.09 / 4000)
    clean = run(backend, CircuitProgram(circuit, np.zeros((1, 0)))).probabilities[0]
    assert np.allclose(clean, [0, 1, 0, 0])


def test_aer_takes_the_noise_of_a_device_by_name() -> None:
    circuit = QuantumCircuit(2)
    circuit.x(0)
    program = CircuitProgram(circuit, np.zeros((1, 0)))
    law = run(open_backend("aer", noise="fake_manila"), program).probabilities[0]
    assert 0.9 < law[1] < 0.9999


@pytest.mark.parametrize("device", [GenericBackendV2(5, seed=1, noise_info=False), BasicSimulator()])
def test_any_backend_v2_is_a_backend(device: Any) -> None:
    rng = np.random.default_rng(4)
    circuit = qaoa(3, rng)
    program = CircuitProgram(circuit, sets(circuit, rng, 2), 4000)
    backend = open_backend(device)
    result = run(backend, program, 3)
    for bits, expected in zip(result.samples, laws(circuit, program.parameters), strict=True):
        assert distance(counted(bits), expected) < 0.055
    assert np.array_equal(result.samples[0], run(backend, program, 3).samples[0])
    assert backend.capabilities.circuits and not backend.capabilities.exact and not backend.capabilities.remote


def test_a_device_without_memory_gives_its_counts() -> None:
    class Counting(GenericBackendV2):
        def run(self, run_input: Any, **options: Any) -> Any:
            options.pop("memory", None)
            return super().run(run_input, **options)

    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    device = Counting(3, seed=1, noise_info=False)
    bits = run(open_backend(device), CircuitProgram(circuit, np.zeros((1, 0)), 1000)).samples[0]
    assert distance(counted(bits), np.array([0.5, 0, 0, 0.5])) < 0.07


def test_a_circuit_is_compiled_once() -> None:
    rng = np.random.default_rng(5)
    circuit, backend = qaoa(3, rng), open_backend("ibm:fake_manila")
    calls: list[Any] = []
    compile_it = backend._compile  # type: ignore[attr-defined]
    backend._compile = lambda *args: (calls.append(1), compile_it(*args))[1]  # type: ignore[attr-defined]
    for seed in range(3):
        run(backend, CircuitProgram(circuit, sets(circuit, rng), 10), seed)
    assert len(calls) == 1
    circuit.x(0)
    run(backend, CircuitProgram(circuit, sets(circuit, rng), 10))
    assert len(calls) == 2


def test_submit_does_not_wait_and_cancel_stops() -> None:
    rng = np.random.default_rng(6)
    circuit = vqe(16, rng)
    backend = open_backend("statevector")
    slow = CircuitProgram(circuit, sets(circuit, rng, 200))
    running = backend.submit(slow, "running")
    waiting = backend.submit(slow, "waiting")
    assert not running.done() and not waiting.done()
    with pytest.raises(TimeoutError):
        waiting.result(0.01)
    assert waiting.cancel() and running.cancel()
    for job in (running, waiting):
        with pytest.raises(Cancelled):
            job.result(60)


def test_a_failure_of_the_library_is_a_backend_error() -> None:
    circuit = QuantumCircuit(1)
    circuit.ry(0.3, 0)
    backend = open_backend("pennylane:default.clifford")
    with pytest.raises(BackendError, match="backend=pennylane:default.clifford: .*"):
        run(backend, CircuitProgram(circuit, np.zeros((1, 0))))


@pytest.mark.parametrize("name", ["statevector", "lightning", "aer", "ibm:fake_manila"])
def test_a_deeper_circuit_than_allowed_is_refused(name: str) -> None:
    circuit = qaoa(3, np.random.default_rng(7))
    program = CircuitProgram(circuit, np.zeros((1, 4)), 10)
    assert open_backend(name, max_depth=1000).estimate(program).shots == 10
    with pytest.raises(ProblemError, match=r"circuit: depth \d+ on backend=.*max_depth=3 is allowed"):
        open_backend(name, max_depth=3).estimate(program)


def test_importing_the_backends_imports_no_vendor() -> None:
    import subprocess
    import sys

    code = (
        "import hybrid_opt, hybrid_opt.backends, sys; hybrid_opt.backends.open_backend('statevector');"
        "print([m for m in ('qiskit', 'pennylane', 'dwave', 'dimod', 'qiskit_aer') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_many_parameters_and_diagonals_do_not_fill_memory() -> None:
    """A run of diagonal gates with more parameters than are tabulated."""
    rng = np.random.default_rng(8)
    angles = ParameterVector("a", 12)
    circuit = QuantumCircuit(4)
    circuit.h(range(4))
    for k, (i, j) in enumerate([(0, 1), (1, 2), (2, 3), (0, 3)]):
        circuit.rzz(angles[3 * k], i, j)
        circuit.p(angles[3 * k + 1], i)
        circuit.crz(angles[3 * k + 2], j, i)
    circuit.h(range(4))
    parameters = sets(circuit, rng, 300)
    started = time.perf_counter()
    result = run(open_backend("statevector"), CircuitProgram(circuit, parameters))
    assert result.cost.wall_seconds <= time.perf_counter() - started
    for row in (0, 150, 299):
        assert np.abs(result.probabilities[row] - laws(circuit, parameters[row : row + 1])[0]).max() < 1e-9


def test_a_large_fake_device_is_restricted_to_the_used_qubits() -> None:
    from hybrid_opt.backends.qiskit.fake_ibm import fake_device
    from hybrid_opt.backends.qiskit.native import restricted
    from hybrid_opt.backends.qiskit.provider import compiled_for

    device = fake_device("fake_torino")
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    whole = compiled_for(device, circuit, 1)
    small, _ = restricted(whole)
    assert whole.num_qubits == 133 and small.num_qubits == 3
    used = sorted({whole.find_bit(q).index for i in whole.data for q in i.qubits})
    place = {qubit: i for i, qubit in enumerate(used)}
    expected = QuantumCircuit(3)
    for instruction in whole.data:
        expected.append(instruction.operation, [place[whole.find_bit(q).index] for q in instruction.qubits])
    assert Operator(small).equiv(Operator(expected))


@pytest.mark.slow
def test_restricting_a_fake_device_keeps_its_noise() -> None:
    """Against the vendor's own simulation of the whole device."""
    from qiskit_aer import AerSimulator

    from hybrid_opt.backends.qiskit.fake_ibm import fake_device
    from hybrid_opt.backends.qiskit.primitives import measured as with_measurements
    from hybrid_opt.backends.qiskit.provider import compiled_for

    device = fake_device("fake_guadalupe")
    circuit = qaoa(4, np.random.default_rng(9))
    parameters = np.full((1, 4), 0.4)
    ours = run(open_backend("ibm:fake_guadalupe"), CircuitProgram(circuit, parameters, 20000)).samples[0]
    whole = compiled_for(device, with_measurements(circuit), 2).assign_parameters(parameters[0])
    counts = AerSimulator.from_backend(device, seed_simulator=5).run(whole, shots=20000).result().get_counts()
    theirs = np.array([counts.get(f"{k:04b}", 0) / 20000 for k in range(16)])
    ideal = laws(circuit, parameters)[0]
    assert distance(counted(ours), theirs) < 0.03  # E <= sqrt(2 * 16 / 20000) / 2 = 0.020
    assert distance(theirs, ideal) > 0.05
