"""Categorical latents and actions: probabilities, samples, divergence (DreamerV3, arXiv 2301.04104)."""

import torch
from torch import Tensor

UNIMIX = 0.01  # share of the uniform distribution in every categorical


def unimix(logits: Tensor, dim: int) -> Tensor:
    """Probabilities of a categorical over axis `dim`, mixed with a small share of the uniform distribution."""
    return logits.float().softmax(dim) * (1 - UNIMIX) + UNIMIX / logits.shape[dim]


def one_hot_sample(probs: Tensor, uniform: Tensor, dim: int, out: Tensor | None = None) -> Tensor:
    """Exact categorical sample over axis `dim` as one-hot, by inversion; uniform in [0, 1), of size 1 there.

    The last class takes what rounding leaves of the sum. out: where the sample is written.
    """
    others = probs.shape[dim] - 1
    over = (probs.narrow(dim, 0, others).cumsum(dim) > uniform).to(probs.dtype)
    sample = torch.empty_like(probs) if out is None else out
    sample.narrow(dim, 0, others).copy_(over)
    sample.narrow(dim, others, 1).fill_(1.0)
    sample.narrow(dim, 1, others).sub_(over)
    return sample


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL divergence in nats between categoricals given by probabilities, summed over latents. [..., K, S] -> [...]."""
    return (p * (p.log() - q.log())).sum((-2, -1))
