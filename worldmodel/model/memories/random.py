"""A random slot."""

import torch
from torch import Tensor
from torch.nn import functional as F

from worldmodel.model.memories.base.episodic import EpisodicMemory


class RandomSlot(EpisodicMemory):
    """A used slot drawn uniformly is read, whatever the query. Control."""

    asks = False
    generator: torch.Generator | None = None  # the agent says which

    def shares(self, overlap: Tensor, used: Tensor) -> Tensor:
        drawn = torch.empty_like(used).uniform_(generator=self.generator)
        best = ((drawn + 1) * used).argmax(-1)
        return F.one_hot(best, used.shape[-1]).to(used.dtype) * used
