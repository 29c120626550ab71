"""Angle encoding: one rotation for each input."""

from torch import Tensor

from hybrid_opt.circuits.encodings.encoding import Encoding
from hybrid_opt.circuits.gate import Gate


class Angle(Encoding):
    """RX(x_q) on qubit q."""

    def inputs(self, qubits: int) -> int:
        return qubits

    def gates(self, qubits: int) -> list[Gate]:
        return [Gate("rx", (q,), q) for q in range(qubits)]

    def kernel(self, x: Tensor, y: Tensor) -> Tensor:
        """prod_q cos^2((x_q - y_q) / 2)."""
        return ((x - y) / 2).cos().square().prod(-1)
