"""Running normalisation of observations."""

import torch
from torch import Tensor, nn


class RunningNorm(nn.Module):
    """Subtracts the mean and divides by the deviation of all inputs seen so far. Shapes: [..., F] -> [..., F]."""

    mean: Tensor
    square: Tensor  # sum of squared deviations
    count: Tensor

    def __init__(self, features: int, most: float = 10.0) -> None:
        """Start at mean 0 and deviation 1. most: outputs are clamped to +-this."""
        super().__init__()
        self.most = most
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("square", torch.ones(features))
        self.register_buffer("count", torch.ones(()))

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take in a batch [..., F] (Chan et al. 1983, eq. 2.1)."""
        rows = x.reshape(-1, x.shape[-1]).float()
        count = self.count + len(rows)
        delta = rows.mean(0) - self.mean
        self.square += (rows - rows.mean(0)).square().sum(0) + delta.square() * self.count * len(rows) / count
        self.mean += delta * len(rows) / count
        self.count.copy_(count)

    def forward(self, x: Tensor) -> Tensor:
        deviation = (self.square / self.count + 1e-6).sqrt()
        return ((x.float() - self.mean) / deviation).clamp(-self.most, self.most)
