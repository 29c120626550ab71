"""Brick wall."""

from hybrid_opt.circuits.ansatz.ansatz import Ansatz, Entangle, Pair, turns
from hybrid_opt.circuits.gate import Gate


class Brick(Ansatz):
    """RY, RZ on each qubit, then CNOT on disjoint pairs, which change from layer to layer.

    ring: bricks (0, 1), (2, 3), ... in even layers and (1, 2), (3, 4), ... in odd ones, closed to a ring where n is
    even. all: the rounds of a tournament, so that n - 1 layers (n where n is odd) entangle all pairs.
    """

    def rotations(self, qubits: int) -> list[Gate]:
        return turns(("ry", "rz"), qubits)

    def entanglers(self, qubits: int, layer: int, entangle: Entangle) -> list[Gate]:
        if entangle == "none" or qubits == 1:
            return []
        bricks = _ring(qubits, layer) if entangle == "ring" else _round(qubits, layer)
        return [Gate("cx", brick) for brick in bricks]


def _ring(qubits: int, layer: int) -> list[Pair]:
    first = layer % 2
    last = qubits if qubits % 2 == 0 else qubits - 1
    return [(q, (q + 1) % qubits) for q in range(first, last, 2)]


def _round(qubits: int, layer: int) -> list[Pair]:
    """Round `layer` by the circle method: one player stays, the others move on. Odd n: one sits out."""
    others = qubits - 1 + qubits % 2
    circle = [(layer + k) % others for k in range(others)]
    seats = [*circle, others]
    matched = [(seats[-1], seats[0]), *((circle[k], circle[-k]) for k in range(1, (others + 1) // 2))]
    return [(min(pair), max(pair)) for pair in matched if max(pair) < qubits]
