"""How flat the landscape of a circuit is: the variance of its gradients (McClean et al. 2018, arXiv 1803.11173)."""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from hybrid_opt.layers.measures.states import States

NONE = 1e-20  # variance of what rounding leaves of a gradient that is 0
Observable = Literal["local", "projector"]
OBSERVABLES: tuple[Observable, ...] = get_args(Observable)


class Variances(NamedTuple):
    """Variances of dE/dtheta over random angles, of those that E depends on: their median, and that of the last."""

    median: float
    last: float


def gradient_variances(
    states: States, observable: Observable, rows: int, generator: torch.Generator | None = None
) -> Variances:
    """Return the variances of the gradients of <Z_0> (local) or of |0><0| on all qubits (projector), data being 0."""
    found = torch.cat([_gradients(states, observable, part) for part in states.parts(states.random(rows, generator))])
    variances = found.var(0)
    variances = variances[variances > NONE]
    return Variances(float(variances.median()), float(variances[-1]))


def _gradients(states: States, observable: Observable, weights: Tensor) -> Tensor:
    """[N, W]."""
    given = weights.requires_grad_()
    with torch.enable_grad():
        laws = states(given).abs().square()  # [N, 2^n]
        means = laws[:, 0] if observable == "projector" else 2 * laws[:, ::2].sum(1) - 1
        (gradients,) = torch.autograd.grad(means.sum(), given)
    return gradients
