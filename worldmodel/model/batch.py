"""What passes between environments, replay and agent: model states, what is carried between steps, replayed windows."""

from typing import NamedTuple

import torch
from torch import Tensor


class State(NamedTuple):
    """Model state of N rows: deter float [N, D]; stoch one-hot float [N, K, S].

    The K classes come before the S latents: reductions over a last axis of few classes are not vectorised on the CPU.
    """

    deter: Tensor
    stoch: Tensor

    @property
    def feature(self) -> Tensor:
        """[..., D + K S]"""
        return torch.cat([self.deter, self.stoch.flatten(-2)], -1)


class Carry(NamedTuple):
    """What the agent keeps between two steps of a stream: its model state and its last action [N, A]."""

    state: State
    action: Tensor


class Windows(NamedTuple):
    """A batch of replayed windows, time first.

    observation: keys [T, B, ...]; action [T, B, A], taken after each observation; reward [T, B], got on arrival;
    is_first, terminated, truncated bool [T, B]; before: the stored state and action of the step before the
    window [B]; weight [B], of each window in the loss.
    """

    observation: dict[str, Tensor]
    action: Tensor
    reward: Tensor
    is_first: Tensor
    terminated: Tensor
    truncated: Tensor
    before: Carry
    weight: Tensor


class Imagined(NamedTuple):
    """Rollouts of N rows over H steps.

    feature [H + 1, N, F]; action [H, N, A]; of each state the predicted reward on arrival and the discount, 0 where the
    episode terminated, both [H + 1, N], and the slow critic's value [H, N]; with gradients, what the critic [H + 1, N,
    bins] and the actor [H, N, ...] give for it.
    """

    feature: Tensor
    action: Tensor
    reward: Tensor
    live: Tensor
    slow: Tensor
    logits: Tensor
    raw: Tensor


class Losses(NamedTuple):
    """total []: to minimise; item [B]: the model loss of each window; state [T, B]: posteriors; metrics: means []."""

    total: Tensor
    item: Tensor
    state: State
    metrics: dict[str, Tensor]
