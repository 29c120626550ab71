"""The contract of encodings: how numbers become a quantum state."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from hybrid_opt.circuits.gate import Gate, to_qiskit


class Encoding(ABC):
    """Gates whose angles are functions of the inputs.

    once: whether it prepares a state from |0...0>, and so stands in the first layer alone. The others are repeated in
    each layer (data re-uploading). scaled: whether each input may have a learned scale.
    """

    once: ClassVar[bool] = False
    scaled: ClassVar[bool] = True

    @abstractmethod
    def inputs(self, qubits: int) -> int:
        """Return how many inputs n qubits take."""

    @abstractmethod
    def gates(self, qubits: int) -> list[Gate]:
        """Return its gates. The angle of a gate is a place in the last axis of `angles`."""

    def angles(self, x: Tensor) -> Tensor:
        """Return the angles of its gates, [..., angles], at inputs [..., inputs]: the inputs, unless overridden."""
        return x

    def check(self, x: Tensor) -> None:  # noqa: B027 - most take all real numbers
        """Raise ProblemError for inputs that it does not take."""

    def fit(self, x: Tensor) -> Tensor:
        """Return inputs that it takes for any real numbers, [..., inputs]: angles within a quarter turn either way."""
        return x.atan()

    def start(self, x: Tensor) -> Tensor | None:
        """Return the state itself where that is cheaper than its gates: real and imaginary part, [N, 2, 2^n]."""
        return None

    def kernel(self, x: Tensor, y: Tensor) -> Tensor | None:
        """Return |<phi(x)|phi(y)>|^2 in closed form, [...] of inputs [..., inputs]; None: it has none.

        phi is the state of one encoding from |0...0>. Axes of x and y are broadcast: `kernel(x[:, None], y)` is a Gram
        matrix.
        """
        return None

    def circuit(self, qubits: int) -> Any:
        """Return its qiskit QuantumCircuit. Its parameters are the angles that its gates use, in order."""
        gates = self.gates(qubits)
        return to_qiskit(gates, qubits, 1 + max(gate.angle for gate in gates))
