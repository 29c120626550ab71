"""The RY-CZ ansatz."""

from hybrid_opt.circuits.ansatz.ansatz import Ansatz, Entangle, pairs, turns
from hybrid_opt.circuits.gate import Gate


class RyCz(Ansatz):
    """RY on each qubit, then CZ between neighbours, which form a ring, or on all pairs (hardware-efficient)."""

    def rotations(self, qubits: int) -> list[Gate]:
        return turns(("ry",), qubits)

    def entanglers(self, qubits: int, layer: int, entangle: Entangle) -> list[Gate]:
        if entangle == "none":
            return []
        edges = pairs(qubits)
        if entangle == "ring":  # two qubits have one edge: a second CZ would undo the first
            edges = [(q, r) for q, r in edges if r - q in (1, qubits - 1)]
        return [Gate("cz", edge) for edge in edges]
