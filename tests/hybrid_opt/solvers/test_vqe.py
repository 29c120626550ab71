"""VQE: the ansatz against circuits, its gradients, what is minimised, and what is counted."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit.quantum_info import Statevector

from hybrid_opt import Cost, ProblemError, Qubo, make_solver
from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import CircuitProgram
from hybrid_opt.circuits.vqe import vqe_circuit
from hybrid_opt.errors import Cancelled
from hybrid_opt.simulator.ansatz import cvar, cvar_gradient, ranked, signs, state

Floats = NDArray[np.float64]


def problem(n: int, seed: int, **constraints: Any) -> Qubo:
    return Qubo(np.random.default_rng(seed).normal(size=(n, n)), 0.5, **constraints)


def angles_of(n: int, layers: int, seed: int = 0) -> Floats:
    return np.random.default_rng((n, layers, seed)).uniform(-np.pi, np.pi, (layers + 1, n))


@pytest.mark.parametrize("entangle", [True, False])
@pytest.mark.parametrize(("n", "layers"), [(1, 0), (1, 2), (2, 1), (3, 2), (7, 3), (10, 1)])
def test_state_is_the_circuits(n: int, layers: int, entangle: bool) -> None:
    angles = angles_of(n, layers)
    circuit = vqe_circuit(n, layers, entangle).assign_parameters(angles.ravel())
    assert np.abs(state(angles, signs(n, entangle)) - Statevector(circuit).data).max() < 1e-12


@pytest.mark.parametrize("backend", ["statevector", "lightning", "aer"])
def test_backends_agree(backend: str) -> None:
    sets = [angles_of(10, 2, seed) for seed in range(3)]
    opened = open_backend(backend)
    program = CircuitProgram(vqe_circuit(10, 2), np.array(sets).reshape(3, -1))
    laws = opened.submit(program, "key").result().probabilities
    for angles, law in zip(sets, laws, strict=True):
        assert np.abs(state(angles, signs(10, True)) ** 2 - law).max() < 1e-6
    opened.close()


def test_twin_is_a_product_state() -> None:
    """Its Schmidt rank across the middle is 1; one layer of CZ has a single gate there and makes it 2."""
    for entangle, rank in ((False, 1), (True, 2)):
        halves = state(angles_of(6, 1), signs(6, entangle)).reshape(8, 8)
        assert np.linalg.matrix_rank(halves, tol=1e-10) == rank


def brute_cvar(probabilities: Floats, energies: Floats, alpha: float) -> float:
    """The mean of the lowest part, over a fine grid of quantiles of the law."""
    order = np.argsort(energies)
    edges = np.concatenate([[0.0], np.minimum(np.cumsum(probabilities[order]), alpha)])
    edges[-1] = alpha
    return float(np.diff(edges) @ energies[order] / alpha)


@pytest.mark.parametrize("alpha", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("entangle", [True, False])
def test_cvar_and_its_gradient(alpha: float, entangle: bool) -> None:
    """Finite differences: the objective is smooth but for the places where the quantile changes."""
    angles, sign, energies = angles_of(6, 2), signs(6, entangle), problem(6, 1).diagonal()
    ranking = ranked(energies)
    value, gradient = cvar_gradient(angles, sign, ranking, alpha)
    assert value == pytest.approx(brute_cvar(state(angles, sign) ** 2, energies, alpha), abs=1e-12)
    assert value == pytest.approx(cvar(state(angles, sign) ** 2, ranking, alpha), abs=1e-12)
    step, numeric = 1e-5, np.zeros_like(angles)
    for place in np.ndindex(angles.shape):
        moved = [angles.copy(), angles.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        ends = [brute_cvar(state(each, sign) ** 2, energies, alpha) for each in moved]
        numeric[place] = (ends[0] - ends[1]) / (2 * step)
    assert np.abs(gradient - numeric).max() < 1e-6


def test_gradient_is_pennylanes() -> None:
    import pennylane as qml
    from pennylane import numpy as pnp

    n, layers = 5, 2
    energies, angles = problem(n, 2).diagonal(), angles_of(n, layers)
    wires = list(range(n))
    matrix = np.diag(energies.reshape([2] * n).transpose().ravel())  # wire 0 is the highest bit there

    @qml.qnode(qml.device("default.qubit", wires=n))  # type: ignore[misc, untyped-decorator, unused-ignore]
    def mean(values: Any) -> Any:
        for layer in range(layers + 1):
            for i in range(n - 1) if layer else ():
                qml.CZ([i, i + 1])
            for i in range(n):
                qml.RY(values[layer, i], i)
        return qml.expval(qml.Hermitian(matrix, wires))

    value, gradient = cvar_gradient(angles, signs(n, True), ranked(energies), 1.0)
    values = pnp.array(angles, requires_grad=True)
    assert value == pytest.approx(float(mean(values)), abs=1e-9)
    assert np.abs(gradient - qml.grad(mean)(values)).max() < 1e-6


def test_finds_the_optimum_and_counts_its_training() -> None:
    qubo = problem(8, 3)
    solution = make_solver("vqe", steps=40, training_shots=32, shots=256).solve(qubo, seed=1)
    training = 40 * 2 * 32
    assert solution.energy == pytest.approx(qubo.minimum()[1])
    assert solution.cost.training.shots == solution.cost.training.evaluations == training
    assert solution.cost.training.circuits == 80
    assert (solution.cost.sampling.shots, solution.cost.sampling.circuits) == (256, 1)
    assert solution.samples.shape == (256, 8)
    assert np.array_equal(solution.energies, qubo.energy(solution.samples))
    assert solution.angles is not None
    assert solution.angles.shape == (2, 8)
    assert solution.trace is not None
    assert solution.trace[-1].tolist() == [training + 256, solution.energy]
    assert qubo.energy(solution.bits) == pytest.approx(solution.energy)


def test_samples_follow_the_trained_state() -> None:
    """Chi-squared over the 16 states at 1e-4."""
    from scipy.stats import chi2

    solution = make_solver("vqe", steps=3, shots=20_000).solve(problem(4, 4), seed=2)
    assert solution.angles is not None
    expected = 20_000 * state(solution.angles, signs(4, True)) ** 2
    counts = np.bincount(solution.samples @ (1 << np.arange(4)), minlength=16)
    assert expected.min() > 5
    assert ((counts - expected) ** 2 / expected).sum() < chi2.ppf(1 - 1e-4, 15)


@pytest.mark.parametrize("training", ["spsa", "adjoint"])
def test_training_lowers_the_mean_energy(training: str) -> None:
    trained, not_trained = (
        make_solver("vqe", **options).solve(problem(9, 5), seed=3)
        for options in ({"training": training, "alpha": 1.0}, {"parameters": "random"})
    )
    assert trained.energies.mean() < not_trained.energies.mean() - 2 * problem(9, 5).diagonal().std()
    assert not_trained.cost.training == Cost()
    if training == "adjoint":
        assert (trained.cost.training.shots, trained.cost.training.evaluations) == (0, 512)
        assert trained.trace is not None
        assert trained.trace[-1, 0] == 512 + 1024


def test_seed_fixes_the_result_alone_and_in_a_batch() -> None:
    solver, qubos = make_solver("vqe", steps=5, shots=64), [problem(5, 6), problem(7, 7), problem(5, 8)]
    batch, again = (solver.submit(qubos, seed=4).result() for _ in range(2))
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(batch, again, strict=True))
    assert np.array_equal(batch[0].samples, solver.solve(qubos[0], seed=4).samples)
    assert [solution.samples.shape[1] for solution in batch] == [5, 7, 5]
    assert not np.array_equal(batch[0].samples, solver.solve(qubos[0], seed=5).samples)


def test_constraints_are_penalties_and_descent_repairs() -> None:
    qubo = problem(6, 9, one_hot=[(0, 1, 2), (3, 4, 5)])
    raw = make_solver("vqe", steps=30).solve(qubo, seed=1)
    assert raw.energy == pytest.approx(qubo.minimum()[1])
    assert qubo.feasible(raw.bits)
    repaired = make_solver("vqe", steps=1, shots=32, descent=True).solve(qubo, seed=1)
    assert repaired.feasible.all()
    assert repaired.about["repaired"] > 0
    assert repaired.cost.sampling.evaluations > 64


@pytest.mark.parametrize("training", ["spsa", "adjoint"])
def test_on_a_backend(training: str) -> None:
    qubos, backend = [problem(4, 10), problem(4, 11), problem(3, 12)], open_backend("statevector")
    solver = make_solver("vqe", backend=backend, training=training, steps=20, training_shots=64, shots=200)
    solutions = solver.submit(qubos, seed=5).result()
    shots = 20 * 2 * 64 if training == "spsa" else 0
    for qubo, solution in zip(qubos, solutions, strict=True):
        assert solution.energy == pytest.approx(qubo.minimum()[1])
        assert (solution.cost.training.shots, solution.cost.sampling.shots) == (shots, 200)
        assert solution.origin == "run"
    again = solver.submit(qubos, seed=5).result()
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(solutions, again, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("entangle", [True, False])
def test_optimum_of_random_problems(entangle: bool) -> None:
    """At 16 variables, in at least 8 of 12 by its defaults (11 are expected)."""
    qubos = [problem(16, seed) for seed in range(12)]
    solutions = make_solver("vqe", entangle=entangle).submit(qubos, seed=0).result()
    found = [s.energy < q.minimum()[1] + 1e-9 for s, q in zip(solutions, qubos, strict=True)]
    assert sum(found) >= 8


def test_cancelled() -> None:
    job = make_solver("vqe", steps=100_000).submit(problem(12, 0))
    assert job.cancel()
    with pytest.raises(Cancelled):
        job.result(60)


def test_refusals() -> None:
    with pytest.raises(ProblemError, match="solver=vqe: 25 qubits need 1,107,296,256 bytes"):
        make_solver("vqe").submit(Qubo(np.eye(25)))
    for key, value in (("alpha", 0.0), ("layers", -1), ("training", "sgd"), ("shots", 0)):
        with pytest.raises(ProblemError, match=f"solver.{key}={value!r}"):
            make_solver("vqe", **{key: value})
    with pytest.raises(ProblemError, match="n=0"):
        vqe_circuit(0, 1)
