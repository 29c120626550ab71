"""LaProp with adaptive gradient clipping: the optimiser of DreamerV3 (arXiv 2002.04839; 2102.06171, section 4.1)."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

Tensors = list[Tensor] | tuple[Tensor, ...]


class NonFiniteGradient(RuntimeError):
    """A gradient is NaN or infinite. Neither parameters nor moments were changed."""


def is_finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or infinite."""
    return bool(tensor.isfinite().all())


class LaProp(torch.optim.Optimizer):
    """RMS scaling first, momentum on the scaled gradient after, both bias-corrected.

    Before that the gradient of each parameter tensor is clipped to `clip` times the tensor's norm (at least 1e-3; 0: no
    clipping), and the learning rate rises linearly over `warmup` steps.
    """

    # as they are inside: PyTorch hides them from its compiler, and to do so imports it, which takes over a second
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        clip: float = 0.3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-20,
        warmup: int = 0,
    ) -> None:
        defaults = {"lr": lr, "clip": clip, "beta1": beta1, "beta2": beta2, "eps": eps, "warmup": warmup}
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all parameters that have a gradient. Raises NonFiniteGradient before anything has changed."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        parts = [(group, [p for p in group["params"] if p.grad is not None]) for group in self.param_groups]
        parts = [(group, params) for group, params in parts if params]
        norms = [torch.stack(torch._foreach_norm([p.grad for p in params])) for _, params in parts]
        for (group, params), norm in zip(parts, norms, strict=True):
            # A norm may also overflow alone. Clipping takes that; without it the mean square would stay infinite.
            if not is_finite(norm) and not (group["clip"] and all(is_finite(p.grad) for p in params)):
                raise NonFiniteGradient("a gradient is not finite, or too large; the weights were not changed")
        for (group, params), norm in zip(parts, norms, strict=True):
            self._update(params, [p.grad for p in params], norm, group)
        return loss

    def _update(self, params: list[Tensor], grads: Tensors, norms: Tensor, group: dict[str, Any]) -> None:
        for p in params:
            if p not in self.state:
                self.state[p] = {"step": 0, "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        states = [self.state[p] for p in params]
        for state in states:
            state["step"] += 1
        factors = torch.ones_like(norms)
        if group["clip"] > 0:
            limits = torch.stack(torch._foreach_norm(params)).clamp_(min=1e-3).mul_(group["clip"])
            factors = (limits / norms.clamp_(min=1e-30)).clamp_(max=1.0)
        if all(p.device.type == "cpu" and p.dtype == torch.float32 and p.is_contiguous() for p in params):
            from worldmodel.kernels.laprop import steps  # with a compiler, which takes its time to start

            steps(params, states, factors, group)
            return
        counts = [state["step"] for state in states]
        means, squares = [state["mean"] for state in states], [state["square"] for state in states]
        grads = torch._foreach_mul(grads, list(factors.unbind()))
        beta1, beta2 = group["beta1"], group["beta2"]
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
        scale = torch._foreach_div(squares, [1 - beta2**t for t in counts])
        torch._foreach_sqrt_(scale)
        torch._foreach_add_(scale, group["eps"])
        torch._foreach_lerp_(means, torch._foreach_div(grads, scale), 1 - beta1)
        rates = [-group["lr"] * min(1.0, t / max(1, group["warmup"])) / (1 - beta1**t) for t in counts]
        torch._foreach_add_(params, torch._foreach_mul(means, rates))
