"""Amplitude encoding: a vector becomes the amplitudes of a state."""

import torch
from torch import Tensor

from hybrid_opt.circuits.encodings.encoding import Encoding
from hybrid_opt.circuits.gate import Gate


class Amplitude(Encoding):
    """Amplitude k is x_k / |x|, so n qubits take 2^n inputs. The zero vector, without a direction, becomes |0...0>.

    As gates it is a tree of RY, each controlled by the qubits above (Mottonen et al. 2005, arXiv quant-ph/0407010):
    2^n - 1 rotations and almost as many CNOTs.
    """

    once = True

    def inputs(self, qubits: int) -> int:
        return 1 << qubits

    def gates(self, qubits: int) -> list[Gate]:
        gates = list[Gate]()
        for level in range(qubits):  # turns one qubit, controlled by the `level` qubits above
            target, count = qubits - 1 - level, 1 << level
            for step in range(count):
                gates.append(Gate("ry", (target,), count - 1 + step))
                if level:
                    changed = ((step + 1) & -(step + 1)).bit_length() - 1  # the next bit of the Gray code that changes
                    gates.append(Gate("cx", (target + 1 + min(changed, level - 1), target)))
        return gates

    def angles(self, x: Tensor) -> Tensor:
        branches, angles = _amplitudes(x), list[Tensor]()
        for level in reversed(range(x.shape[-1].bit_length() - 1)):
            low, high = branches.unflatten(-1, (-1, 2)).unbind(-1)  # [..., 2^level], where the turned qubit is 0, is 1
            empty = (low == 0) & (high == 0)  # has no angle, and gradients that are not numbers
            low = torch.where(empty, 1.0, low)
            angles.append(2 * torch.atan2(high, low) @ _gray(level).to(x))
            branches = torch.where(empty, 0.0, torch.hypot(low, high))
        return torch.cat(angles[::-1], -1)

    def start(self, x: Tensor) -> Tensor:
        real = _amplitudes(x)
        return torch.stack([real, torch.zeros_like(real)], -2)

    def kernel(self, x: Tensor, y: Tensor) -> Tensor:
        """(x . y)^2 / (|x|^2 |y|^2)."""
        return (_amplitudes(x) * _amplitudes(y)).sum(-1).square()


def _amplitudes(x: Tensor) -> Tensor:
    """x / |x|. The greatest is divided out before, so that squares neither vanish nor overflow."""
    greatest = x.detach().abs().amax(-1, keepdim=True)
    basis = torch.zeros(x.shape[-1], dtype=x.dtype, device=x.device)
    basis[0] = 1.0
    x = torch.where(greatest == 0, basis, x / torch.where(greatest == 0, 1.0, greatest))
    return x / x.square().sum(-1, keepdim=True).sqrt()


def _gray(level: int) -> Tensor:
    """Angles of RY between CNOTs from those of the controlled rotations: a scaled Walsh matrix [2^level, 2^level]."""
    controls = torch.arange(1 << level)
    common = controls[:, None] & (controls ^ (controls >> 1))
    parity = torch.zeros_like(common)
    for bit in range(level):
        parity ^= (common >> bit) & 1
    return (1.0 - 2.0 * parity.double()) / (1 << level)
