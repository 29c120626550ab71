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

    given = (None, torch.is_grad_enabled(), gates, None, None, None, phases, start)
    found: Tensor = Adjoint.apply(plan, *given)  # type: ignore[no-untyped-call]
    return found


def turned_means(
    plan: Plan,
    gates: SlotGates,
    data: Tensor,
    trained: Tensor,
    phases: Tensor | None = None,
    start: Tensor | None = None,
    scale: Tensor | None = None,
    origin: Tensor | None = None,
) -> Tensor:
    """Return `means` of the gates of angles: data [N, R], and trained [W], which the rows share, or [N, W].

    With scale [R] and origin, int32 [R], the data are [N, I], and angle r of each row is scale[r] * data[:, origin[r]].
    The kernels compute shared gates themselves: PyTorch's operators take longer for them than the circuit takes.
    """
    if not _suits(data, trained, phases, start, scale) or trained.dim() > 1:
        if scale is not None and origin is not None:
            data = data[:, origin] * scale
        return means(plan, gates.gates(data, trained), phases, start)
    from hybrid_opt.layers.gradients.adjoint import Adjoint, chains_of

    chains = chains_of(gates)
    if origin is not None:
        chains = chains._replace(origin=origin.numpy())
    given = (chains, torch.is_grad_enabled(), None, data, trained, scale, phases, start)
    found: Tensor = Adjoint.apply(plan, *given)  # type: ignore[no-untyped-call]
    return found


def _suits(*given: Tensor | None) -> bool:
    """Whether compiled kernels take these tensors: no transform and no forward-mode differentiation follows them."""
    followed = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    return not followed and all(x is None or (x.dtype == torch.float32 and x.device.type == "cpu") for x in given)
