"""Dense angle encoding: two inputs for each qubit."""

from torch import Tensor

from hybrid_opt.circuits.encodings.encoding import Encoding
from hybrid_opt.circuits.gate import Gate


class Dense(Encoding):
    """RY(x_2q), then RZ(x_2q+1) on qubit q: all states of a qubit (LaRose and Coyle 2020, arXiv 2003.01695)."""

    def inputs(self, qubits: int) -> int:
        return 2 * qubits

    def gates(self, qubits: int) -> list[Gate]:
        return [Gate(name, (q,), 2 * q + k) for q in range(qubits) for k, name in enumerate(("ry", "rz"))]

    def kernel(self, x: Tensor, y: Tensor) -> Tensor:
        """prod_q (1 + cos a cos a' + sin a sin a' cos(b - b')) / 2, with a = x_2q and b = x_2q+1."""
        (a, b), (c, d) = (z.unflatten(-1, (-1, 2)).unbind(-1) for z in (x, y))
        kernel: Tensor = ((1 + a.cos() * c.cos() + a.sin() * c.sin() * (b - d).cos()) / 2).prod(-1)
        return kernel
