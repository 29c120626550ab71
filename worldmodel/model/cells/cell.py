"""What a recurrent cell of the RSSM is. A cell is one file beside this one, `cells/NAME.py`."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from worldmodel.model.batch import State
from worldmodel.model.categorical import one_hot_sample

if TYPE_CHECKING:
    from worldmodel.model.posterior import Posterior


def reset(x: Tensor, first: Tensor) -> Tensor:
    """x [..., F] with zeros where first [..., 1] is true, whatever x is there: NaN times 0 would stay NaN."""
    return x.masked_fill(first, 0.0)


class Cell(nn.Module):
    """Moves the deterministic state. Shapes: T steps, N rows, D deter, Z = K S flat latents, A action width.

    It is made by `Cell(size, action)`. `step` is all that it must have; actions come to it within the unit box.
    """

    compiled = False  # whether worldmodel.kernels has its arithmetic
    observes = False  # a cell has no losses of its own

    def step(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """The next deter [N, D] from deter [N, D], stoch [N, Z] and action [N, A]."""
        raise NotImplementedError

    def sequence(
        self,
        posterior: "Posterior",
        seen: Tensor,
        action: Tensor,
        first: Tensor,
        noise: Tensor,
        state: State,
        loops: Any = None,
    ) -> tuple[State, Tensor]:
        """Posterior states [T, N], whose samples are straight-through, and their probabilities [T, N, K, S].

        seen [T, N, H], what `posterior.seen` gives for the embeddings; action [T, N, A], before each observation; first
        bool [T, N, 1], where the state is reset; noise [T, N, 1, S], uniform; state [N], before the first step; loops:
        compiled ones, for cells that have them. Here by `step` and automatic differentiation.
        """
        deter, stoch, steps = state.deter, state.stoch.flatten(-2), []
        for seen_t, action_t, first_t, noise_t in zip(seen, reset(action, first), first, noise, strict=True):
            deter = self.step(reset(deter, first_t), reset(stoch, first_t), action_t)
            probs = posterior(deter, seen_t)
            sample = one_hot_sample(probs.detach(), noise_t, -2) + (probs - probs.detach())
            stoch = sample.flatten(-2)
            steps.append((deter, sample, probs))
        deters, samples, probabilities = (torch.stack(parts) for parts in zip(*steps, strict=True))
        return State(deters, samples), probabilities
