"""A dry run: what a program would take and cost, printed before anything is sent."""

import sys
from dataclasses import dataclass
from typing import Any, TextIO

from hybrid_opt.backends.backend import AnnealProgram, Backend, Capabilities, Limits, Program, Programs
from hybrid_opt.backends.errors import circuit_errors
from hybrid_opt.backends.programs import as_list
from hybrid_opt.cost import Cost
from hybrid_opt.errors import Cancelled
from hybrid_opt.job import Job

BASIS = ("rz", "sx", "x", "rzz", "cz")  # gates that are counted where a backend does not say what it runs


class NothingSent(Cancelled):
    """What a dry run ends with."""

    exit_code = 0


@dataclass(frozen=True)
class Report:
    """qubits, depth and two_qubit_gates of the circuit as the backend runs it (of a list: the most of any), or None for
    anneals, whose qubits are variables; circuits, shots, seconds (of the processor) and dollars in all."""

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


def dry_run(programs: Programs, backend: Backend) -> Report:
    """What a program, or a list of them, would take on a backend; nothing is sent.

    A backend that has `transpiled(program)`, the circuit as it will run, is asked for it; otherwise the gates of the
    circuit are counted once it is written in rz, sx, x, rzz and cz, with all qubits connected. Raises ProblemError
    where one cannot run there.
    """
    cost = backend.estimate(programs)
    amounts = cost.shots, cost.qpu_seconds, cost.dollars
    qubits, depth, two, circuits = zip(*(_size(program, backend) for program in as_list(programs)), strict=True)
    deepest, most = (None if None in sizes else max(sizes) for sizes in (depth, two))
    return Report(backend.name, max(qubits), deepest, most, cost.circuits or sum(circuits), *amounts)


def _size(program: Program, backend: Backend) -> tuple[Any, ...]:
    """Qubits, depth, two-qubit gates and circuits; an anneal's Qubos are its circuits."""
    if isinstance(program, AnnealProgram):
        return max(qubo.n for qubo in program.qubos), None, None, len(program.qubos)
    transpiled = getattr(backend, "transpiled", None)
    circuit: Any = _in_basis(program.circuit) if transpiled is None else transpiled(program)
    two = sum(len(item.qubits) == 2 and item.operation.name != "barrier" for item in circuit.data)
    used = sum(any(qubit in item.qubits for item in circuit.data) for qubit in circuit.qubits)
    qubits = max(program.circuit.num_qubits, used if transpiled is not None else 0)
    depth = circuit.depth(lambda item: item.operation.name not in ("barrier", "measure"))
    return qubits, depth, two, len(program.parameters)


class DryRun:
    """A backend that prints the report of a job, and raises NothingSent instead of sending it."""

    def __init__(self, backend: Backend, output: TextIO | None = None) -> None:
        self.backend, self.name, self._output = backend, backend.name, output

    @property
    def capabilities(self) -> Capabilities:
        return self.backend.capabilities

    @property
    def limits(self) -> Limits:
        return self.backend.limits

    def estimate(self, programs: Programs) -> Cost:
        return self.backend.estimate(programs)

    def submit(self, programs: Programs, key: str, seed: int = 0) -> Job[Any]:
        print(dry_run(programs, self.backend), file=self._output or sys.stdout, flush=True)
        raise NothingSent("dry run: nothing was sent")

    def find(self, key: str) -> Job[Any] | None:
        return None

    def close(self) -> None:
        self.backend.close()


def _in_basis(circuit: Any) -> Any:
    from qiskit import transpile

    with circuit_errors(f"written in {', '.join(BASIS)}"):
        return transpile(circuit, basis_gates=list(BASIS), optimization_level=0)


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
