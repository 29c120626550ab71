"""Scalars as categorical distributions over exponentially spaced bins (DreamerV3, arXiv 2301.04104, eq. 10)."""

from typing import Any

import torch
from torch import Tensor, nn

from worldmodel.model.layers import symexp


class TwoHot(nn.Module):
    """The symexp two-hot code: 255 bins at symexp(-20..20), a target shared between its two neighbours.

    Shapes: logits [..., bins]; values and targets [...], in raw (not symlog) units.
    The logits stand for bin 0 first, then the positive bins outwards, then the negative ones in the same order.
    """

    bins: Tensor
    place: Tensor

    def __init__(self, bins: int = 255) -> None:
        super().__init__()
        half = bins // 2
        with torch.device("cpu"):  # on the meta device these would import PyTorch's compiler
            positive = symexp(torch.linspace(0.0, 20.0, half + 1))[1:]
            values = torch.cat([-positive.flip(0), torch.zeros(1), positive])
            place = torch.cat(
                [torch.arange(bins - 1, half, -1), torch.arange(half + 1)]
            )  # of each bin among the logits
        self.register_buffer("bins", values, persistent=False)
        self.register_buffer("place", place, persistent=False)

    def mean(self, logits: Tensor) -> Tensor:
        """Expected value. The two tails are paired before summing, so that equal tails cancel to exactly zero."""
        half = len(self.bins) // 2
        probs = logits.float().softmax(-1)
        # No matrix product: autocast would run it in bfloat16, and round every value to 8 bits.
        return ((probs[..., 1 : half + 1] - probs[..., half + 1 :]) * self.bins[half + 1 :]).sum(-1)

    def loss(self, logits: Tensor, *targets: tuple[Tensor, float]) -> Tensor:
        """Sum over (target, scale) of scale times the cross-entropy to the two-hot code of the target.

        Targets are clamped to the range of the bins.
        """
        places, shares = [], []
        for target, scale in targets:
            target = target.clamp(self.bins[0], self.bins[-1]).contiguous()
            upper = torch.searchsorted(self.bins, target).clamp(1, len(self.bins) - 1)
            low, high = self.bins[upper - 1], self.bins[upper]
            share = (target - low) / (high - low)
            places += [upper - 1, upper]
            shares += [scale * (1 - share), scale * share]
        place = self.place[torch.stack(places, -1)]
        loss: Tensor = SparseCrossEntropy.apply(logits.float(), place, torch.stack(shares, -1))  # type: ignore[no-untyped-call]
        return loss


class SparseCrossEntropy(torch.autograd.Function):
    """Cross-entropy of logits [..., K] to a target that has only a few classes: their places and shares [..., M].

    The gradient is the softmax times the sum of the shares, less the shares: no dense target is made.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, place: Tensor, share: Tensor) -> Tensor:
        log_probs = logits.log_softmax(-1)
        ctx.save_for_backward(log_probs, place, share)
        return -(share * log_probs.gather(-1, place)).sum(-1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        log_probs, place, share = ctx.saved_tensors
        share = share * grad.unsqueeze(-1)
        return log_probs.exp().mul_(share.sum(-1, keepdim=True)).scatter_add_(-1, place, -share), None, None
