"""Quantum read: slots in superposition, post-selected on the query."""

from torch import Tensor

from worldmodel.model.memories.base.episodic import EpisodicMemory, normalised


class QMatrix(EpisodicMemory):
    """Slot i is read in proportion to |<q|k_i>|^2, to the power of `beta`.

    The state sum_i |i>|k_i>^beta / sqrt(n) of n used slots is post-selected on |q>^beta: then i has this law exactly.
    It succeeds with probability P = mean_j |<q|k_j>|^(2 beta), which amplitude amplification raises in O(1 / sqrt(P))
    rounds. Here the law is computed: O(M d) a read. Twin: `attention`. Controls: `nearest`, `random`.
    """

    def shares(self, overlap: Tensor, used: Tensor) -> Tensor:
        fidelity = overlap.square() * used
        # relative to the greatest one, so that no power of it is lost to rounding
        scaled = fidelity / fidelity.detach().amax(-1, keepdim=True).clamp(min=1e-12)
        return normalised(scaled.pow(self.options.beta))
