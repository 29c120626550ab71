"""A surrogate: gradients of a small network that is fitted to the circuit on the batch at hand."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Evaluate = Callable[[Tensor], Tensor]
PAIRS = 1024  # pairs of moved circuits, at least
SPREAD = 0.2  # standard deviation of a move of an angle, in radians
UNITS, STEPS, RATE, DECAY = 32, 200, 1e-2, 0.1  # of the network, and of its fit by AdamW


def surrogated(
    angles: Tensor, columns: Tensor, rows: int, evaluate: Evaluate, generator: torch.Generator | None = None
) -> Tensor:
    """Evaluate a circuit, with gradients of a network that is fitted to it (after Luo et al. 2025, arXiv 2503.09119).

    One job runs the N circuits of the batch and P = max(N, PAIRS) pairs, each a circuit of the batch with angles moved
    by +m and by -m, where m is normal. Half the difference of a pair is m . J to second order. The network gives J,
    [C, outputs], for the angles of the data: UNITS tanh units of their cosines and sines, then a linear map. It is new
    for each batch and fitted in STEPS steps. The number of circuits does not depend on C, as it does for shifts. But
    gradients are estimates: they suit shallow circuits on few qubits, whose outputs vary slowly.

    Args:
        angles: [N, K], of all rotations.
        columns: int64 [C], the angles whose gradients are wanted.
        rows: how many of the angles, the first, are of the data.
        evaluate: gives outputs [M, outputs] at angles [M, K].
        generator: of all that is drawn; None: PyTorch's own.

    Returns: [N, outputs], those of the circuit. The fit happens in the backward pass.
    """
    outputs: Tensor = _Surrogated.apply(angles, columns, rows, evaluate, generator)  # type: ignore[no-untyped-call]
    return outputs


class _Surrogated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, angles: Tensor, columns: Tensor, rows: int, evaluate: Evaluate, generator: torch.Generator | None
    ) -> Tensor:
        count = len(angles)
        near = torch.arange(max(count, PAIRS), device=angles.device) % count
        moves = _normal((len(near), len(columns)), angles, generator)
        moved = torch.zeros_like(angles[near]).index_copy_(1, columns, SPREAD * moves)
        sets = torch.cat([angles, angles[near] + moved, angles[near] - moved])
        outputs, ahead, back = evaluate(sets).split([count, len(near), len(near)])
        first = _normal((2 * rows, UNITS), angles, generator) / max(1, 2 * rows) ** 0.5
        ctx.save_for_backward(angles, columns, near, moves, (ahead - back) / (2 * SPREAD), first)
        ctx.rows = rows
        batch: Tensor = outputs.clone()
        return batch

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        angles, columns, *pairs = ctx.saved_tensors
        angles = angles.detach()
        with torch.enable_grad():
            slopes = _slopes(angles[:, : ctx.rows], *pairs)
        total = torch.zeros_like(angles).index_copy_(1, columns, torch.einsum("nco,no->nc", slopes, gradient))
        return total, None, None, None, None


def _slopes(data: Tensor, near: Tensor, moves: Tensor, targets: Tensor, first: Tensor) -> Tensor:
    """Fit the network and return its J, [N, C, outputs], for angles of the data [N, R].

    Pair p moved row near[p] by moves[p], [P, C], which changed the outputs by targets[p], [P, outputs].
    """
    waves = torch.cat([data.cos(), data.sin()], 1)
    deviation = waves.std(0, correction=0)
    waves = (waves - waves.mean(0)) / torch.where(deviation > 0, deviation, 1.0)
    size = targets.std(correction=0).clamp_min(torch.finfo(targets.dtype).tiny)
    shape = UNITS + 1, moves.shape[1], targets.shape[1]
    first, last = first.clone().requires_grad_(), torch.zeros(shape).to(first).requires_grad_()

    def jacobian() -> Tensor:
        units = torch.nn.functional.pad((waves @ first).tanh(), (0, 1), value=1.0)  # the last one is for the bias
        return torch.einsum("nu,uco->nco", units, last)

    optimizer = torch.optim.AdamW([first, last], RATE, weight_decay=DECAY)
    for _ in range(STEPS):
        found = torch.einsum("pc,pco->po", moves, jacobian()[near])
        loss = (found - targets / size).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (jacobian() * size).detach()


def _normal(shape: tuple[int, int], like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)
