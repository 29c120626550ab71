"""Recurrent state-space model: a recurrent cell and categorical latents (DreamerV3, arXiv 2301.04104, eq. 3).

deter_t = cell(deter_t-1, stoch_t-1, action_t-1)
stoch_t ~ posterior(deter_t, embedding_t)        what was seen
stoch_t ~ prior(deter_t)                         what is imagined
"""

from typing import Any

import torch
from torch import Tensor, nn

from worldmodel.model.batch import AnyState, State
from worldmodel.model.categorical import one_hot_sample, unimix
from worldmodel.model.factory import DEFAULT, Factory
from worldmodel.model.posterior import Posterior
from worldmodel.model.size import ModelSize


class RSSM(nn.Module):
    """Sequence model. What does not depend on the recurrent state is computed outside the time loop, for all steps.

    Shapes: T steps, B windows, D deter, S latents of K classes, E embedding, A action width.
    """

    loops: Any = None  # a sequence of the cell, compiled; see worldmodel.kernels

    def __init__(self, size: ModelSize, embed: int, action: int, parts: Factory = DEFAULT) -> None:
        super().__init__()
        self.size = size
        self.cell = parts.cell(size, action)
        self.posterior = Posterior(size.deter, embed, size.hidden, size.classes, size.stoch)
        self.prior_net = parts.prior(size)

    def initial(self, rows: int) -> State:
        """The zero state at the start of an episode."""
        weight = self.posterior.out.weight
        shape = (rows, self.size.classes, self.size.stoch)
        return State(weight.new_zeros(rows, self.size.deter), weight.new_zeros(shape))

    def prior(self, deter: Tensor) -> Tensor:
        """Probabilities of the next latents before seeing the observation. [..., D] -> [..., K, S]."""
        return unimix(self.prior_net(deter).unflatten(-1, (self.size.classes, self.size.stoch)), -2)

    def observe(
        self, embed: Tensor, action: Tensor, is_first: Tensor, state: AnyState, noise: Tensor
    ) -> tuple[State, Tensor]:
        """Posterior states of a sequence.

        embed [T, B, E]; action [T, B, A], the action *before* each observation; is_first [T, B], where the state
        is reset; state [B], before the first step; noise [T, B, 1, S], uniform.
        Returns the states [T, B] (straight-through samples) and the posterior probabilities [T, B, K, S].
        """
        seen, first = self.posterior.seen(embed), is_first.unsqueeze(-1)
        states: tuple[State, Tensor] = self.cell.sequence(
            self.posterior, seen, boxed(action), first, noise, state, self.loops
        )
        return states

    @torch.no_grad()
    def step(self, state: State, action: Tensor, noise: Tensor, out: State | None = None) -> State:
        """One imagined step: the next state drawn from the prior. state [N], action [N, A], noise [N, 1, S].

        No gradient goes through it. out: where the result is written.
        """
        deter: Tensor = self.cell.step(state.deter, state.stoch.flatten(-2), boxed(action))
        if out is not None:
            deter = out.deter.copy_(deter)
        return State(deter, one_hot_sample(self.prior(deter), noise, -2, out and out.stoch))

    def split(self, feature: Tensor) -> State:
        """The state that a feature [..., D + K S + V] is made of, as views of it."""
        deter, stoch = feature[..., : self.size.feature].split_with_sizes(
            [self.size.deter, self.size.stoch * self.size.classes], -1
        )
        return State(deter, stoch.unflatten(-1, (self.size.classes, self.size.stoch)))


def boxed(action: Tensor) -> Tensor:
    """Actions [..., A] scaled into the unit box; one-hots stay as they are."""
    return action / action.abs().clamp(min=1.0)
