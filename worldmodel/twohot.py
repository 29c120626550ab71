"""Scalars as categorical distributions over exponentially spaced bins (DreamerV3, arXiv 2301.04104, eq. 10)."""

import torch
from torch import Tensor, nn

from worldmodel.nets import symexp


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
        positive = symexp(torch.linspace(0.0, 20.0, half + 1))[1:]
        self.register_buffer("bins", torch.cat([-positive.flip(0), torch.zeros(1), positive]), persistent=False)
        place = torch.cat([torch.arange(bins - 1, half, -1), torch.arange(half + 1)])  # of each bin among the logits
        self.register_buffer("place", place, persistent=False)

    def mean(self, logits: Tensor) -> Tensor:
        """Expected value. The two tails are paired before summing, so that equal tails cancel to exactly zero."""
        half = len(self.bins) // 2
        probs = logits.float().softmax(-1)
        return (probs[..., 1 : half + 1] - probs[..., half + 1 :]) @ self.bins[half + 1 :]

    def loss(self, logits: Tensor, *targets: tuple[Tensor, float]) -> Tensor:
        """Sum over (target, scale) of scale times the cross-entropy to the two-hot code of the target.

        Targets are clamped to the range of the bins.
        """
        logits = logits.float()
        loss = logits.logsumexp(-1) * sum(scale for _, scale in targets)
        for target, scale in targets:
            target = target.clamp(self.bins[0], self.bins[-1]).contiguous()
            upper = torch.searchsorted(self.bins, target).clamp(1, len(self.bins) - 1)
            low, high = self.bins[upper - 1], self.bins[upper]
            picked = logits.gather(-1, self.place[torch.stack([upper - 1, upper], -1)])
            loss = loss - scale * torch.lerp(picked[..., 0], picked[..., 1], (target - low) / (high - low))
        return loss
