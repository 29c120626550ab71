"""Behaviour: actor and critic learn from imagined and replayed returns (DreamerV3, arXiv 2301.04104, section 3)."""

import torch
from torch import Tensor, nn


def lambda_return(reward: Tensor, value: Tensor, live: Tensor, mix: float | Tensor) -> Tensor:
    """TD(lambda) returns of steps 0..H-1, the time axis first.

    R_t = r_{t+1} + live_{t+1} ((1 - mix_{t+1}) v_{t+1} + mix_{t+1} R_{t+1}), R_H = v_H.
    reward, value, live [H + 1, ...]: at the arrival in each state, live its discount (0 where the episode terminated);
    mix: lambda, or a tensor that is 0 where a truncation cuts the trace, so that the return bootstraps there.
    """
    # full_like, not as_tensor: a copy from the host's unpinned memory cannot be captured in a CUDA graph.
    mixes = mix.expand_as(value) if isinstance(mix, Tensor) else torch.full_like(value, mix)
    interim = reward[1:] + live[1:] * (1 - mixes[1:]) * value[1:]
    trace = live[1:] * mixes[1:]
    returns = [value[-1]]
    for r, c in zip(interim.flip(0), trace.flip(0), strict=True):
        returns.append(torch.addcmul(r, c, returns[-1]))
    return torch.stack(returns[:0:-1])


class ReturnScale(nn.Module):
    """Running range of returns between their 5th and 95th percentile; divides advantages, never below 1."""

    low: Tensor
    high: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, returns: Tensor) -> Tensor:
        """Update with the returns [...] and give the scale []."""
        flat = returns.flatten()
        low = flat.kthvalue(max(1, round(0.05 * flat.numel()))).values
        high = flat.kthvalue(max(1, round(0.95 * flat.numel()))).values
        self.low.lerp_(low, self.rate)
        self.high.lerp_(high, self.rate)
        return (self.high - self.low).clamp(min=1.0)
