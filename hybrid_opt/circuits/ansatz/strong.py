"""Strongly entangling layers."""

from hybrid_opt.circuits.ansatz.ansatz import Ansatz, Entangle, pairs, turns
from hybrid_opt.circuits.gate import Gate


class Strong(Ansatz):
    """RZ, RY, RZ on each qubit, then CNOT from each to the one r further (Schuld et al. 2018, arXiv 1804.00633).

    ring: r is 1 + l mod (n - 1) in layer l, as in PennyLane's StronglyEntanglingLayers. all: CNOT on all pairs.
    """

    def rotations(self, qubits: int) -> list[Gate]:
        return turns(("rz", "ry", "rz"), qubits)

    def entanglers(self, qubits: int, layer: int, entangle: Entangle) -> list[Gate]:
        if entangle == "none" or qubits == 1:
            return []
        if entangle == "all":
            return [Gate("cx", pair) for pair in pairs(qubits)]
        reach = 1 + layer % (qubits - 1)
        return [Gate("cx", (q, (q + reach) % qubits)) for q in range(qubits)]
