"""What passes between environments, replay and agent: model states, what is carried between steps, replayed windows."""

from __future__ import annotations

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

    def rows(self, keep: Tensor) -> State:
        """Some of the rows [N]."""
        return State(self.deter[keep], self.stoch[keep])

    def detached(self) -> State:
        """The same without gradients."""
        return State(self.deter.detach(), self.stoch.detach())

    def flattened(self) -> State:
        """States [T, B] as rows [T B]."""
        return State(self.deter.flatten(0, 1), self.stoch.flatten(0, 1))


class Slots(NamedTuple):
    """What an episodic memory holds for N streams, in M slots; W = d amplitudes of a key, V numbers of a value, and 1.

    sums [N, M, W]: what was written to each slot, added up: keys, values and their number, 0 for a free slot.
    The rest is for acting and for the replay alone, None elsewhere. facts [N, M, 4]: uses, step of the first write,
    mean fidelity of what was merged, and mean return that the critic expected then. clock int64 [N, 2]: steps of the
    episode before this one, and episodes before this one. item [N, W]: what was written last. code int16 [N]: where,
    1 + slot if it was merged, -1 - slot if it replaced what was there.
    """

    sums: Tensor
    facts: Tensor | None = None
    clock: Tensor | None = None
    item: Tensor | None = None
    code: Tensor | None = None

    def rows(self, keep: Tensor) -> Slots:
        """Some of the rows [N]."""
        rest = (None if part is None else part[keep] for part in self[1:])
        return Slots(self.sums[keep], *rest)


class Recalled(NamedTuple):
    """A model state as `State`, with what was read from an episodic memory [N, V], and what the memory holds."""

    deter: Tensor
    stoch: Tensor
    context: Tensor
    slots: Slots

    @property
    def feature(self) -> Tensor:
        """[..., D + K S + V]"""
        return torch.cat([self.deter, self.stoch.flatten(-2), self.context], -1)

    def rows(self, keep: Tensor) -> Recalled:
        """Some of the rows [N]."""
        return Recalled(self.deter[keep], self.stoch[keep], self.context[keep], self.slots.rows(keep))

    def detached(self) -> Recalled:
        """The same without gradients; the memory never has any."""
        return Recalled(self.deter.detach(), self.stoch.detach(), self.context.detach(), self.slots)

    def flattened(self) -> Recalled:
        """States [T, B] as rows [T B]. Of the memory the sums stay."""
        deter, stoch, context = (part.flatten(0, 1) for part in (self.deter, self.stoch, self.context))
        return Recalled(deter, stoch, context, Slots(self.slots.sums.flatten(0, 1)))


AnyState = State | Recalled


class Carry(NamedTuple):
    """What the agent keeps between two steps of a stream: its model state and its last action [N, A]."""

    state: AnyState
    action: Tensor


class Windows(NamedTuple):
    """A batch of replayed windows, time first.

    observation: keys [T, B, ...]; action [T, B, A], taken after each observation; reward [T, B], got on arrival;
    is_first, terminated, truncated bool [T, B]; before: the stored state and action of the step before the
    window [B]; weight [B], of each window in the loss; codes int16 [T, B], where a memory wrote each step, as in
    `Slots`.
    """

    observation: dict[str, Tensor]
    action: Tensor
    reward: Tensor
    is_first: Tensor
    terminated: Tensor
    truncated: Tensor
    before: Carry
    weight: Tensor
    codes: Tensor | None = None


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
    state: AnyState
    metrics: dict[str, Tensor]
