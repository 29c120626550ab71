"""Data re-uploading: an encoding and trained gates in turn, layer after layer."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hybrid_opt.circuits.ansatz.ansatz import Ansatz, Entangle
from hybrid_opt.circuits.encodings.encoding import Encoding
from hybrid_opt.circuits.gate import Gate, effective, to_qiskit


@dataclass(frozen=True, eq=False)
class Reuploading:
    """A circuit whose angles are those of the data, then those that are trained (Perez-Salinas et al. 2020).

    Gates without effect on what is measured are left out, so that every trained angle matters.
    """

    qubits: int
    gates: tuple[Gate, ...]
    uploads: int
    """layers that encode the inputs: 1 for encodings that prepare a state"""
    rows: int
    """angles of the data: those of the encoding, for each upload"""
    weights: int
    """angles that are trained"""
    prepared: int
    """gates at the beginning that encode the inputs, where the encoding prepares a state"""

    @classmethod
    def of(cls, encoding: Encoding, ansatz: Ansatz, qubits: int, layers: int, entangle: Entangle) -> "Reuploading":
        """Return the circuit of n qubits and L layers."""
        encode, rotate = encoding.gates(qubits), ansatz.rotations(qubits)
        width = 1 + max(gate.angle for gate in encode)
        uploads = 1 if encoding.once else layers
        gates = list[Gate]()
        for layer in range(layers):
            if layer < uploads:
                gates += [_moved(gate, layer * width) for gate in encode]
            gates += [_moved(gate, uploads * width + layer * len(rotate)) for gate in rotate]
            gates += ansatz.entanglers(qubits, layer, entangle)
        kept = effective(gates, qubits)
        used = sorted({gate.angle for gate in kept if gate.angle >= uploads * width})
        place = {angle: uploads * width + number for number, angle in enumerate(used)}
        numbered = tuple(gate._replace(angle=place.get(gate.angle, gate.angle)) for gate in kept)
        prepared = len(encode) if encoding.once else 0
        return cls(qubits, numbered, uploads, uploads * width, len(used), prepared)

    @cached_property
    def angles(self) -> list[int]:
        """Places of the angles that gates have, in order: the parameters of `circuit`."""
        return sorted({gate.angle for gate in self.gates if gate.angle >= 0})

    @cached_property
    def circuit(self) -> Any:
        """A qiskit QuantumCircuit with these parameters."""
        return to_qiskit(self.gates, self.qubits, self.rows + self.weights)


def _moved(gate: Gate, places: int) -> Gate:
    return gate if gate.angle < 0 else gate._replace(angle=gate.angle + places)
