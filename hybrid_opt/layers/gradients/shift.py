"""Parameter shift: gradients from the circuit itself."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Evaluate = Callable[[Tensor], Tensor]


def shifted(angles: Tensor, columns: Tensor, evaluate: Evaluate) -> Tensor:
    """Evaluate a circuit, with gradients by parameter shift (Mitarai et al. 2018, Schuld et al. 2019).

    Each rotation has an angle of its own, so d f / d angle is (f(angle + pi/2) - f(angle - pi/2)) / 2. Scales, products
    of inputs and inputs that are encoded many times follow by the chain rule.

    Args:
        angles: [N, K], of all rotations.
        columns: int64 [C], the angles whose gradients are wanted.
        evaluate: gives outputs [M, outputs] at angles [M, K].

    Returns: [N, outputs]. It takes N circuits, and backwards 2 C N more in one call.
    """
    outputs: Tensor = _Shifted.apply(angles, columns, evaluate)  # type: ignore[no-untyped-call]
    return outputs


class _Shifted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, angles: Tensor, columns: Tensor, evaluate: Evaluate) -> Tensor:
        ctx.save_for_backward(angles, columns)
        ctx.evaluate = evaluate
        return evaluate(angles)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        angles, columns = ctx.saved_tensors
        shift = torch.zeros(len(columns), angles.shape[1], dtype=angles.dtype, device=angles.device)
        shift[torch.arange(len(columns), device=angles.device), columns] = math.pi / 2
        sets = angles + torch.stack([shift, -shift])[:, :, None]  # [2, C, N, K]
        outputs = ctx.evaluate(sets.flatten(0, 2)).unflatten(0, sets.shape[:3])
        slopes = (outputs[0] - outputs[1]) / 2  # [C, N, outputs]
        total = torch.zeros_like(angles)
        total[:, columns] = torch.einsum("cno,no->nc", slopes, gradient)
        return total, None, None
