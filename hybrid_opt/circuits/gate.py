"""Gates of parametrised circuits, and what of a list of them can be left out."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hybrid_opt.errors import ProblemError

SIZES = {"h": 1, "rx": 1, "ry": 1, "rz": 1, "flip": 1, "rzz": 2, "cx": 2, "cz": 2}  # qubits of each kind
TURNS = ("rx", "ry", "rz", "flip", "rzz")  # kinds with an angle
DIAGONAL = ("rz", "rzz", "cz")


class Gate(NamedTuple):
    """A gate on one or two qubits.

    rx, ry, rz and rzz are exp(-i angle/2 P) with P = X, Y, Z, ZZ. flip is rx at 0 or pi. cx has its control first.
    """

    name: str
    qubits: tuple[int, ...]
    angle: int = -1
    """place of its angle among those of the circuit; -1: it has none"""

    def moved(self, places: int) -> "Gate":
        """Return the gate with an angle that many places further."""
        return self if self.angle < 0 else self._replace(angle=self.angle + places)


def checked(gates: Sequence[Gate], qubits: int) -> None:
    """Raise ProblemError for a gate of an unknown kind, on other qubits, or with an angle too many or too few."""
    for gate in gates:
        if gate.name not in SIZES:
            raise ProblemError(f"gate {gate.name}: {', '.join(SIZES)} are accepted")
        places = set(gate.qubits)
        if len(gate.qubits) != SIZES[gate.name] or len(places) != len(gate.qubits) or not places <= set(range(qubits)):
            raise ProblemError(f"gate {gate.name} on {gate.qubits}: {SIZES[gate.name]} of {qubits} qubits are accepted")
        if (gate.angle >= 0) != (gate.name in TURNS):
            raise ProblemError(f"gate {gate.name}: {', '.join(TURNS)} have an angle, and no others")


def effective(gates: Sequence[Gate], qubits: int) -> list[int]:
    """Return the places of gates that can change what is measured: bits of all qubits, after a start from |0...0>.

    Diagonal gates are left out where their qubits are still in a basis state, and where nothing but permutations and
    diagonal gates follow.
    """
    kept, classical, free = list[int](), set(range(qubits)), set(range(qubits))
    for place, gate in enumerate(gates):
        if not (gate.name in DIAGONAL and classical.issuperset(gate.qubits)):
            kept.append(place)
            _leave(classical, gate)
    last = list[int]()
    for place in reversed(kept):
        if not (gates[place].name in DIAGONAL and free.issuperset(gates[place].qubits)):
            last.append(place)
            _leave(free, gates[place])
    return last[::-1]


def _leave(qubits: set[int], gate: Gate) -> None:
    """Take out the qubits that leave the basis states by a gate: all of `qubits` are in them up to it, or from it on.

    A diagonal gate before CNOTs within the set is another one after them. One on a control passes.
    """
    if gate.name == "cx":
        if gate.qubits[0] not in qubits:
            qubits.discard(gate.qubits[1])
    elif gate.name not in (*DIAGONAL, "flip"):
        qubits.discard(gate.qubits[0])


def to_qiskit(gates: Iterable[Gate], qubits: int, angles: int) -> Any:
    """Return a qiskit QuantumCircuit with a parameter `angle[k]` for each of the `angles` that a gate has."""
    from qiskit.circuit import ParameterVector, QuantumCircuit

    values = ParameterVector("angle", angles)
    circuit = QuantumCircuit(qubits)
    for gate in gates:
        name = "rx" if gate.name == "flip" else gate.name
        getattr(circuit, name)(*([] if gate.angle < 0 else [values[gate.angle]]), *gate.qubits)
    return circuit
