"""A dry run: what a program would take and cost, printed before anything is sent."""

import sys
from dataclasses import dataclass
from typing import Any, TextIO

from hybrid_opt.backends.backend import AnnealProgram, Backend, Capabilities, Limits, Program, Result
from hybrid_opt.backends.errors import circuit_errors
from hybrid_opt.cost import Cost
from hybrid_opt.errors import Cancelled
from hybrid_opt.job import Job

BASIS = ("rz", "sx", "x", "rzz", "cz")  # gates that are counted where a backend does not say what it runs


class NothingSent(Cancelled):
    """What a dry run ends with."""

    exit_code = 0


@dataclass(frozen=True)
class Report:
    """qubits, depth and two_qubit_gates of the circuit as the backend runs it, or None for anneals, whose qubits are
    variables; circuits, shots, seconds (of the processor) and dollars in all."""

    backend: str
    qubits: int
    depth: int | None
    two_qubit_gates: int | None
    circuits: int
    shots: int
    seconds: float
    dollars: float

    def __str__(self) -> str:
        rows = {name.replace("_", " ").replace("two qubit", "two-qubit"): value for name, value in vars(self).items()}
        return "\n".join(f"{name:15}  {_text(value)}" for name, value in rows.items())


def dry_run(program: Program, backend: Backend) -> Report:
    """What a program would take on a backend; nothing is sent.

    A backend that has `transpiled(program)`, the circuit as it will run, is asked for it; otherwise the gates of the
    circuit are counted once it is written in rz, sx, x, rzz and cz, with all qubits connected. Raises ProblemError
    where the program cannot run there.
    """
    cost = backend.estimate(program)
    amounts = cost.shots, cost.qpu_seconds, cost.dollars
    if isinstance(program, AnnealProgram):
        qubits = max(qubo.n for qubo in program.qubos)
        return Report(backend.name, qubits, None, None, len(program.qubos), *amounts)
    transpiled = getattr(backend, "transpiled", None)
    circuit: Any = _in_basis(program.circuit) if transpiled is None else transpiled(program)
    two = sum(len(item.qubits) == 2 and item.operation.name != "barrier" for item in circuit.data)
    used = sum(any(qubit in item.qubits for item in circuit.data) for qubit in circuit.qubits)
    qubits = max(program.circuit.num_qubits, used if transpiled is not None else 0)
    depth = circuit.depth(lambda item: item.operation.name not in ("barrier", "measure"))
    return Report(backend.name, qubits, depth, two, cost.circuits or len(program.parameters), *amounts)


class DryRun:
    """A backend that prints the report of a program, and raises NothingSent instead of sending it."""

    def __init__(self, backend: Backend, output: TextIO | None = None) -> None:
        self.backend, self.name, self._output = backend, backend.name, output

    @property
    def capabilities(self) -> Capabilities:
        return self.backend.capabilities

    @property
    def limits(self) -> Limits:
        return self.backend.limits

    def estimate(self, program: Program) -> Cost:
        return self.backend.estimate(program)

    def submit(self, program: Program, key: str, seed: int = 0) -> Job[Result]:
        print(dry_run(program, self.backend), file=self._output or sys.stdout, flush=True)
        raise NothingSent("dry run: nothing was sent")

    def find(self, key: str) -> Job[Result] | None:
        return None

    def close(self) -> None:
        self.backend.close()


def _in_basis(circuit: Any) -> Any:
    from qiskit import transpile

    with circuit_errors(f"written in {', '.join(BASIS)}"):
        return transpile(circuit, basis_gates=list(BASIS), optimization_level=0)


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
