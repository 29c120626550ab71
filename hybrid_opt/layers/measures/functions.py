"""What any function of a few inputs shows: its frequencies, and how steep it is."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.layer import CircuitLayer

POINTS = 64
Function = Callable[[Tensor], Tensor]  # [N, M] -> [N, K]


@torch.no_grad()
def spectrum(function: Function, inputs: Tensor) -> Tensor:
    """Return the share of the variance at frequencies 1, 2, ..., 31, along each input and of each output together.

    inputs [X, M]: places where all inputs but one stay, while that one goes round the circle in `POINTS` steps. A
    function that is no polynomial of cos and sin of its inputs, such as an MLP, is cut at +-pi, and has all of them.
    """
    circle = 2 * math.pi * torch.arange(POINTS, dtype=inputs.dtype) / POINTS - math.pi
    energies = inputs.new_zeros(POINTS // 2 - 1)
    for axis in range(inputs.shape[1]):
        rows = inputs[:, None].repeat(1, POINTS, 1)
        rows[:, :, axis] = circle
        values = function(rows.flatten(0, 1)).view(len(inputs), POINTS, -1)
        energies += torch.fft.rfft(values, dim=1).abs().square().sum((0, 2))[1:-1]
    return energies / energies.sum().clamp(min=1e-30)


def steepest(function: Function, inputs: Tensor) -> float:
    """Return the largest length of the gradient of the first output, among inputs [X, M]."""
    given = inputs.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(function(given)[:, 0].sum(), given)
    return float(slopes.norm(dim=1).max())


def lipschitz_bound(layer: CircuitLayer) -> float:
    """Return a bound on how far one output moves for a step of length 1 of the inputs, anywhere.

    Each angle moves <Z> by at most its own change. So the slope in an input is at most the sum of its scales
    (Berberich et al. 2024, arXiv 2311.11871, for |M| = 1 and H = P / 2). Raises ProblemError where angles are no
    multiples of inputs.
    """
    if layer.origin is None or layer.scale is None:
        raise ProblemError("the angles of this encoding are no multiples of its inputs: no bound is known")
    scale = layer.scale.detach().flatten()
    scale = scale if layer.data_places is None else scale[layer.data_places]
    slopes = scale.new_zeros(layer.inputs).index_add_(0, layer.origin.long(), scale.abs())
    return float(slopes.norm())
