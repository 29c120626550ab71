"""Nearest neighbour."""

import torch
from torch import Tensor

from worldmodel.model.memories.base.episodic import EpisodicMemory, normalised


class Nearest(EpisodicMemory):
    """The slot of greatest overlap is read alone. Its gradient is that of `attention`. Control."""

    def shares(self, overlap: Tensor, used: Tensor) -> Tensor:
        scores = overlap + (used - 1) * 4.0  # below all overlaps, which are in [-1, 1]
        greatest, best = scores.detach().max(-1, keepdim=True)
        soft = normalised((2 * self.options.beta * (scores - greatest)).exp() * used)
        hard = torch.zeros_like(soft).scatter_(-1, best, 1.0) * used
        return hard + (soft - soft.detach())
