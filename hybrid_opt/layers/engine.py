"""Run a plan by the engine that suits its tensors."""

import torch
from torch import Tensor
from torch.autograd import forward_ad

from hybrid_opt.layers import operators
from hybrid_opt.layers.plan import Plan
from hybrid_opt.layers.slots import SlotGates


def means(plan: Plan, gates: Tensor, phases: Tensor | None = None, start: Tensor | None = None) -> Tensor:
    """Return what is read out of the circuit of each row, with gradients: `operators.means`, compiled if it can be.

    Compiled kernels take float32 on the CPU. Their gradients have none of their own: a second derivative raises
    RuntimeError. PyTorch's operators take all else, and everything within the transforms of `torch.func`.
    """
    if not _suits(gates, phases, start):
        return operators.means(plan, gates, phases, start)
    from hybrid_opt.layers.gradients.adjoint import Adjoint  # numba takes a second to import

    given = (None, torch.is_grad_enabled(), gates, None, None, phases, start)
    found: Tensor = Adjoint.apply(plan, *given)  # type: ignore[no-untyped-call]
    return found


def turned_means(
    plan: Plan,
    gates: SlotGates,
    data: Tensor,
    trained: Tensor,
    phases: Tensor | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Return `means` of the gates of angles: data [N, R], and trained [W], which the rows share, or [N, W].

    The kernels compute shared gates themselves: PyTorch's operators take longer for them than the circuit takes.
    """
    if not _suits(data, trained, phases, start) or trained.dim() > 1:
        return means(plan, gates.gates(data, trained), phases, start)
    from hybrid_opt.layers.gradients.adjoint import Adjoint, chains_of

    given = (chains_of(gates), torch.is_grad_enabled(), None, data, trained, phases, start)
    found: Tensor = Adjoint.apply(plan, *given)  # type: ignore[no-untyped-call]
    return found


def _suits(*given: Tensor | None) -> bool:
    """Whether compiled kernels take these tensors: no transform and no forward-mode differentiation follows them."""
    followed = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    return not followed and all(x is None or (x.dtype == torch.float32 and x.device.type == "cpu") for x in given)
