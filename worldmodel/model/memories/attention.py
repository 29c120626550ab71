"""Softmax attention."""

from torch import Tensor

from worldmodel.model.memories.base.episodic import EpisodicMemory, normalised


class Attention(EpisodicMemory):
    """Slot i is read in proportion to exp(2 beta <q|k_i>). Twin of `qmatrix`.

    Its temperature is that of `qmatrix`: at an angle a between query and key both fall as 1 - beta a^2.
    """

    def shares(self, overlap: Tensor, used: Tensor) -> Tensor:
        least = (used - 1) * 4.0  # below all overlaps, which are in [-1, 1]
        greatest = (overlap + least).detach().amax(-1, keepdim=True)
        return normalised((2 * self.options.beta * (overlap - greatest)).clamp(max=0).exp() * used)
