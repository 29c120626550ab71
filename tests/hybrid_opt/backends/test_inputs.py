"""What backends of circuits refuse, and how they say it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp

from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import AnnealProgram, CircuitProgram
from hybrid_opt.errors import BudgetExceeded, ProblemError
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.solvers import make_solver

Floats = NDArray[np.float64]


def two_qubits() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.rx(Parameter("a"), 0)
    return circuit


def measured() -> QuantumCircuit:
    circuit = two_qubits()
    circuit.measure_all()
    return circuit


@pytest.mark.parametrize(
    ("name", "program", "message"),
    [
        ("statevector", CircuitProgram(two_qubits(), np.zeros((1, 2))), r"parameters: shape \(1, 2\).*\[P, 1\]"),
        ("statevector", CircuitProgram(two_qubits(), np.zeros((0, 1))), "P >= 1"),
        ("statevector", CircuitProgram(two_qubits(), np.full((1, 1), np.nan)), "NaN"),
        ("statevector", CircuitProgram(two_qubits(), np.zeros((1, 1)), shots=0), "shots=0.*integer >= 1"),
        ("statevector", CircuitProgram(measured(), np.zeros((1, 1))), "circuit: has measure"),
        ("statevector", CircuitProgram(QuantumCircuit(60), np.zeros((1, 0))), r"60 qubits needs [\d,]+ bytes"),
        ("lightning", CircuitProgram(QuantumCircuit(60), np.zeros((1, 0))), r"60 qubits needs [\d,]+ bytes"),
        ("aer", CircuitProgram(QuantumCircuit(60), np.zeros((1, 0))), r"60 qubits needs [\d,]+ bytes"),
        ("statevector", CircuitProgram("h 0", np.zeros((1, 0))), "a str; a qiskit QuantumCircuit"),
        ("statevector", CircuitProgram(two_qubits(), np.zeros((1, 1)), noise=1), "noise: .*aer does"),
        ("ibm:fake_manila", CircuitProgram(two_qubits(), np.zeros((1, 1))), "shots=None.*no exact mode"),
        ("ibm:fake_manila", CircuitProgram(QuantumCircuit(6), np.zeros((1, 0)), 10), "6 qubits; .* has 5"),
        ("aer", AnnealProgram((Qubo(np.eye(2)),), 5), "runs no anneals"),
        ("statevector", CircuitProgram(two_qubits(), np.zeros((1, 1)), None, (SparsePauliOp("ZZZ"),)), "3 qubits"),
        ("statevector", CircuitProgram(two_qubits(), np.zeros((1, 1)), None, (SparsePauliOp("ZZ", 1j),)), "real"),
    ],
)
def test_a_program_that_cannot_run_is_refused(name: str, program: Any, message: str) -> None:
    backend = open_backend(name)
    for refuse in (backend.estimate, lambda program: backend.submit(program, "key")):
        with pytest.raises(ProblemError, match=message) as error:
            refuse(program)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("statevectr", "did you mean statevector"),
        ("qpu", "aer, dwave, dwave:NAME, ibm:NAME, lightning, pennylane:NAME, statevector, MODULE:CLASS are accepted"),
        ("aer:gpu", "aer is accepted"),
        ("ibm", "ibm:NAME is accepted"),
        ("ibm:fake_torinoo", "did you mean fake_torino"),
        ("pennylane:defalt.qubit", "did you mean default.qubit"),
        ("dwave:", "dwave or dwave:NAME"),
        (7, "a int; a name, a Backend or a qiskit BackendV2"),
    ],
)
def test_an_unknown_backend_is_refused(name: Any, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        open_backend(name)


def test_options_are_checked() -> None:
    with pytest.raises(ProblemError, match=r"backend\.max_dept: no such option .* did you mean max_depth"):
        open_backend("aer", max_dept=3)
    with pytest.raises(ProblemError, match=r"backend\.max_depth=-1"):
        open_backend("statevector", max_depth=-1)
    assert open_backend({"name": "statevector", "max_depth": 7}).limits.depth == 7
    assert open_backend("aer?max_depth=7&noise=fake_manila").limits.depth == 7
    with pytest.raises(ProblemError, match=r"backend\.max_depth='x'"):
        open_backend("statevector?max_depth=x")
    opened = open_backend("statevector")
    assert open_backend(opened) is opened
    with pytest.raises(ProblemError, match="it is open"):
        open_backend(opened, max_depth=3)


@pytest.mark.parametrize("name", ["ibm:NAME", "statevector", "aer", "lightning"])
def test_a_missing_library_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"ibm:NAME": "qiskit_ibm_runtime", "aer": "qiskit_aer", "lightning": "pennylane"}.get(name)
    if missing is None:
        assert open_backend(name).name == name
        return
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(ProblemError, match=f"backend={name}: needs .*pip install"):
        open_backend(name)


def test_what_a_transpiler_cannot_do_is_one_line() -> None:
    """No rotation can be made of these gates."""
    from qiskit.providers.fake_provider import GenericBackendV2

    backend = open_backend(GenericBackendV2(3, basis_gates=["id", "x", "cx"], seed=0))
    with pytest.raises(ProblemError, match=r"^circuit: cannot be compiled for backend=.*: TranspilerError: ") as caught:
        make_solver("qaoa", backend=backend, layers=1).solve(Qubo(np.diag([1.0, -1.0]) + np.triu(np.ones((2, 2)), 1)))
    assert "\n" not in str(caught.value)


def test_a_backend_that_a_solver_cannot_use_leaves_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match=r"^backend=statevector\?max_depth=9: runs no anneals, which"):
        make_solver("annealing", backend="statevector?max_depth=9", ledger=tmp_path / "ledger.sqlite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["exact", "random", "greedy", "annealing", "path_integral", "qaoa", "grover", "vqe"])
def test_budgets_ledgers_and_fallbacks_are_kept_or_refused(name: str, tmp_path: Path) -> None:
    """Also where the backend is our own simulator."""
    qubo = Qubo(np.array([[1.0, -3.0], [0.0, 1.0]]))
    circuits = name in ("qaoa", "grover", "vqe")
    with pytest.raises(ProblemError, match="budget"):
        make_solver(name, budget={"foo": "bar"})
    if circuits:
        for key, value, message in (
            ("budget", {"shots": 10**400}, r"^budget\.shots: .*too large"),
            ("ledger", 5, "^ledger=5: a Ledger, or the path"),
            ("fallback", 5, "^backend: a int; a name"),
        ):
            with pytest.raises(ProblemError, match=message):
                make_solver(name, **{key: value})
    else:
        for key, value in {"budget": {"shots": 10}, "ledger": tmp_path / "l.sqlite", "fallback": "aer"}.items():
            with pytest.raises(ProblemError, match=f"^{key}: solver={name} runs here and has no jobs to record"):
                make_solver(name, **{key: value})
        return
    shots = {} if name == "grover" else {"shots": 100}
    solver = make_solver(name, budget={"shots": 0 if name == "grover" else 10}, **shots)
    with pytest.raises(BudgetExceeded, match=r"budget\.shots="):
        solver.solve(qubo)
    solver.close()
