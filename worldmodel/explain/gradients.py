"""Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365), with points where the path needs them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from worldmodel.explain.targets import Function

TOLERANCE = 2e-3  # of the sum of attributions, relative to what they explain
DEEPEST = 30  # halvings of the path: at zero inputs each norm multiplies slopes by up to 100
MOST = 30  # pieces of a state that are halved at once, on average; images have kinks that no halving removes
WIDTH = 1 << 22  # numbers that pass through the model at once
ROUNDING = 2.5e-7  # of a value in float32, relative


class Attribution(NamedTuple):
    """values [N, P]: what each number of an observation contributes; change [N]: f(x) - f(x0), which they explain.

    rounding [N]: of the change, in float32.
    """

    values: Tensor
    change: Tensor
    rounding: Tensor


def integrated_gradients(
    function: Function,
    x: Tensor,
    baseline: Tensor,
    tolerance: float = TOLERANCE,
    deepest: int = DEEPEST,
    most: int = MOST,
) -> Attribution:
    """Integrate the gradient along the line from a baseline [P] to observations x [N, P].

    Each piece of the line has five Gauss-Legendre points. One whose sum misses the change of the function is halved,
    at most `deepest` times. Where too many miss, those that miss least stay as they are.
    """
    points, weights = np.polynomial.legendre.leggauss(5)
    nodes, weight = x.new_tensor((points + 1) / 2), x.new_tensor(weights / 2)
    way, states = x - baseline, torch.arange(len(x), device=x.device)
    start, end = evaluated(function, baseline.expand_as(x), states), evaluated(function, x, states)
    allowed, rounding = tolerance * (end - start).abs(), ROUNDING * torch.maximum(start.abs(), end.abs())
    found, change = torch.zeros_like(x, dtype=torch.float64), end - start
    low, high = torch.zeros_like(end), torch.ones_like(end)
    for depth in range(deepest + 1):
        length = high - low
        places = low[:, None] + length[:, None] * nodes  # [M, 5]
        rows = (baseline + places[..., None] * way[states][:, None]).flatten(0, 1)
        slopes = gradients(function, rows, states.repeat_interleave(5)).view(len(states), 5, -1)
        parts = length[:, None] * torch.einsum("k,mkp->mp", weight, slopes) * way[states]
        missed = (parts.double().sum(-1) - (end - start)).abs()
        accepted = missed <= allowed[states] * length.clamp(min=1 / 64) + rounding[states]
        done = accepted if depth < deepest else torch.ones_like(accepted)
        if len(missed) > most * len(x):
            done |= missed < missed.topk(most * len(x)).values[-1]
        found.index_add_(0, states[done], parts[done].double())
        if bool(done.all()):
            break
        states, low, high, start, end = (each[~done] for each in (states, low, high, start, end))
        middle = (low + high) / 2
        between = evaluated(function, baseline + middle[:, None] * way[states], states)
        states, low, high = states.repeat(2), torch.cat([low, middle]), torch.cat([middle, high])
        start, end = torch.cat([start, between]), torch.cat([between, end])
    return Attribution(found.float(), change, rounding)


def gradients(function: Function, rows: Tensor, states: Tensor) -> Tensor:
    """Return the slopes [M, P] at rows [M, P]."""

    def slopes(part: Tensor, index: Tensor) -> Tensor:
        given = part.detach().requires_grad_()
        (slope,) = torch.autograd.grad(function(given, index).sum(), given)
        return slope

    return _in_parts(slopes, rows, states)


@torch.no_grad()
def evaluated(function: Function, rows: Tensor, states: Tensor) -> Tensor:
    """Return the values [M] at rows [M, P]."""
    return _in_parts(function, rows, states)


def _in_parts(work: Callable[[Tensor, Tensor], Tensor], rows: Tensor, states: Tensor) -> Tensor:
    size = max(1, WIDTH // (rows.shape[1] + 4096))  # hidden layers take room too
    pairs = zip(rows.split(size), states.split(size), strict=True)
    return torch.cat([work(part, index) for part, index in pairs])
