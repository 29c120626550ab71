"""The contract of an ansatz: one layer of gates whose angles are trained."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

from hybrid_opt.circuits.gate import Gate

Entangle = Literal["none", "ring", "all"]
Pair = tuple[int, int]


class Ansatz(ABC):
    """A layer: rotations of each qubit, then entangling gates."""

    @abstractmethod
    def rotations(self, qubits: int) -> list[Gate]:
        """Return the rotations of a layer. The angle of a gate is a place among the numbers that the layer trains."""

    @abstractmethod
    def entanglers(self, qubits: int, layer: int, entangle: Entangle) -> list[Gate]:
        """Return the entangling gates of layer 0, 1, ..., which have no angles; none for entangle="none"."""


def turns(names: Sequence[str], qubits: int) -> list[Gate]:
    """Rotations of these names, one after the other, on each qubit."""
    return [Gate(name, (q,), len(names) * q + k) for q in range(qubits) for k, name in enumerate(names)]


def pairs(qubits: int) -> list[Pair]:
    """All pairs of qubits."""
    return [(q, r) for q in range(qubits) for r in range(q + 1, qubits)]
