"""Gates of parametrised circuits, and what of a list of them can be left out."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

DIAGONAL = ("rz", "rzz", "cz")


class Gate(NamedTuple):
    """A gate on one or two qubits: h, rx, ry, rz, flip, rzz, cx, cz.

    rx, ry, rz and rzz are exp(-i angle/2 P) with P = X, Y, Z, ZZ. flip is rx at 0 or pi. cx has its control first.
    """

    name: str
    qubits: tuple[int, ...]
    angle: int = -1
    """place of its angle among those of the circuit; -1: it has none"""


def effective(gates: Iterable[Gate], qubits: int) -> list[Gate]:
    """Return the gates that can change what is measured: bits of all qubits, after a start from |0...0>.

    Diagonal gates are left out where only permutations and diagonal gates follow on their qubits, and where their
    qubits are still in a basis state.
    """
    return _undone(_moved(gates, qubits), qubits)


def _moved(gates: Iterable[Gate], qubits: int) -> list[Gate]:
    """Leave out diagonal gates on qubits in a basis state: these are global phases."""
    kept, classical = list[Gate](), set(range(qubits))
    for gate in gates:
        if gate.name in DIAGONAL:
            if classical.issuperset(gate.qubits):
                continue
        elif gate.name == "cx":
            if gate.qubits[0] not in classical:
                classical.discard(gate.qubits[1])
        elif gate.name != "flip":
            classical.discard(gate.qubits[0])
        kept.append(gate)
    return kept


def _undone(gates: Sequence[Gate], qubits: int) -> list[Gate]:
    """Leave out diagonal gates that commute with all that follows, up to a permutation of the basis states."""
    kept, free = list[Gate](), set(range(qubits))
    for gate in reversed(gates):
        if gate.name in DIAGONAL:
            if free.issuperset(gate.qubits):
                continue
        elif gate.name == "cx":
            if gate.qubits[0] not in free:
                free.discard(gate.qubits[1])
        elif gate.name != "flip":
            free.discard(gate.qubits[0])
        kept.append(gate)
    return kept[::-1]


def to_qiskit(gates: Iterable[Gate], qubits: int, angles: int) -> Any:
    """Return a qiskit QuantumCircuit with a parameter `angle[k]` for each of the `angles` that a gate has."""
    from qiskit.circuit import ParameterVector, QuantumCircuit

    values = ParameterVector("angle", angles)
    circuit = QuantumCircuit(qubits)
    for gate in gates:
        name = "rx" if gate.name == "flip" else gate.name
        getattr(circuit, name)(*([] if gate.angle < 0 else [values[gate.angle]]), *gate.qubits)
    return circuit
