"""Angle encoding about all three axes: three inputs for each qubit."""

import torch
from torch import Tensor

from hybrid_opt.circuits.encodings.encoding import Encoding
from hybrid_opt.circuits.gate import Gate


class AngleXyz(Encoding):
    """RX(x_3q), then RY(x_3q+1), then RZ(x_3q+2) on qubit q."""

    def inputs(self, qubits: int) -> int:
        return 3 * qubits

    def gates(self, qubits: int) -> list[Gate]:
        return [Gate(name, (q,), 3 * q + k) for q in range(qubits) for k, name in enumerate(("rx", "ry", "rz"))]

    def kernel(self, x: Tensor, y: Tensor) -> Tensor:
        """prod_q (1 + r_q(x) . r_q(y)) / 2, where r_q is the Bloch vector of qubit q."""
        return ((1 + (_bloch(x) * _bloch(y)).sum(-1)) / 2).prod(-1)


def _bloch(x: Tensor) -> Tensor:
    """Bloch vectors [..., n, 3] after the three rotations of |0>, whose own is (0, 0, 1)."""
    a, b, c = x.unflatten(-1, (-1, 3)).unbind(-1)
    across, along = a.cos() * b.sin(), -a.sin()  # of the x and y axes before RZ
    turned = [across * c.cos() - along * c.sin(), across * c.sin() + along * c.cos(), a.cos() * b.cos()]
    return torch.stack(turned, -1)
