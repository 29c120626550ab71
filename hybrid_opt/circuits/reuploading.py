"""Data re-uploading: an encoding and trained gates in turn, layer after layer."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from hybrid_opt.circuits.ansatz.ansatz import Ansatz, Entangle
from hybrid_opt.circuits.encodings.encoding import Encoding
from hybrid_opt.circuits.gate import Gate, checked, effective, to_qiskit


@dataclass(frozen=True, eq=False)
class Reuploading:
    """A circuit in which every rotation has an angle of its own (Perez-Salinas et al. 2020, arXiv 1907.02085).

    Angles of the data come first, then those that are trained. Gates without effect on what is measured are left out,
    so that every trained angle matters.
    """

    qubits: int
    gates: tuple[Gate, ...]
    places: int
    """angles of the encoding, of all uploads together"""
    uploads: int
    """layers that encode the inputs: 1 for encodings that prepare a state"""
    prepared: int
    """gates at the beginning that do nothing else, for such encodings"""
    data: tuple[int, ...]
    """where each angle of the data comes from: a place in the encoding's angles of all uploads, in turn"""
    trained: tuple[int, ...]
    """where each trained angle comes from: a place in the weights"""

    @classmethod
    def of(cls, encoding: Encoding, ansatz: Ansatz, qubits: int, layers: int, entangle: Entangle) -> "Reuploading":
        """Return the circuit of n qubits and L layers."""
        encode, rotate = encoding.gates(qubits), ansatz.rotations(qubits)
        uploads = 1 if encoding.once else layers
        with torch.device("meta"):  # numbers do not matter
            width = encoding.angles(torch.zeros(encoding.inputs(qubits))).shape[-1]
        first, stride = uploads * width, 1 + max((gate.angle for gate in rotate), default=-1)
        gates = list[Gate]()
        for layer in range(layers):
            if layer < uploads:
                gates += [gate.moved(layer * width) for gate in encode]
            gates += [gate.moved(first + layer * stride) for gate in rotate]
            gates += ansatz.entanglers(qubits, layer, entangle)
        checked(gates, qubits)
        kept = effective(gates, qubits)
        prepared = sum(place < len(encode) for place in kept) if encoding.once else 0
        gates = [gates[place] for place in kept]
        data = [gate.angle for gate in gates if 0 <= gate.angle < first]
        trained = [gate.angle for gate in gates if gate.angle >= first]
        weight = {angle: number for number, angle in enumerate(sorted(set(trained)))}
        of_data, of_weights = iter(range(len(data))), iter(range(len(data), len(data) + len(trained)))
        own = [
            gate if gate.angle < 0 else gate._replace(angle=next(of_data if gate.angle < first else of_weights))
            for gate in gates
        ]
        return cls(qubits, tuple(own), first, uploads, prepared, tuple(data), tuple(weight[angle] for angle in trained))

    @property
    def weights(self) -> int:
        """Numbers that are trained."""
        return 1 + max(self.trained, default=-1)

    @cached_property
    def circuit(self) -> Any:
        """A qiskit QuantumCircuit with a parameter for each angle."""
        return to_qiskit(self.gates, self.qubits, len(self.data) + len(self.trained))
