"""Run a plan by the engine that suits its tensors."""

import torch
from torch import Tensor
from torch.autograd import forward_ad

from hybrid_opt.layers import operators
from hybrid_opt.layers.plan import Plan


def means(plan: Plan, gates: Tensor, phases: Tensor | None = None, start: Tensor | None = None) -> Tensor:
    """Return what is read out of the circuit of each row, with gradients: `operators.means`, compiled where that is.

    Compiled kernels take float32 on the CPU. Their gradients have none of their own: a second derivative raises
    RuntimeError. PyTorch's operators take all else, and everything within the transforms of `torch.func`.
    """
    given = [x for x in (gates, phases, start) if x is not None]
    if not all(x.dtype == torch.float32 and x.device.type == "cpu" for x in given) or _transformed():
        return operators.means(plan, gates, phases, start)
    from hybrid_opt.layers.gradients.adjoint import Adjoint  # numba takes a second to import

    found: Tensor = Adjoint.apply(plan, torch.is_grad_enabled(), gates, phases, start)  # type: ignore[no-untyped-call]
    return found


def _transformed() -> bool:
    """Whether `torch.func` or forward-mode differentiation follows the computation."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
