"""Recurrent state-space model: a deterministic block GRU and categorical latents (DreamerV3, arXiv 2301.04104)."""

from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from worldmodel.model.cells.gru import UNIMIX, Recurrence, Weights, cell, one_hot_sample, reset
from worldmodel.model.layers import BlockLinear, Head, Linear, NormAct

Positive = Annotated[int, Field(ge=1)]


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class ModelSize:
    """Widths of every network; the presets 1m..400m are the group `size`."""

    deter: Positive
    hidden: Positive
    classes: Annotated[int, Field(ge=2, le=256)]  # the replay keeps a class in a byte
    units: Positive
    depth: Positive
    stoch: Positive = 32
    blocks: Positive = 8
    fan_in: Literal["all", "block"] = "block"  # as earlier runs, which have no such key, were initialised

    def block_fan_in(self, inputs: int) -> int:
        """The fan-in that sets the scale of a block-diagonal layer's initial weights: `inputs` are one block's."""
        return inputs * self.blocks if self.fan_in == "all" else inputs

    @property
    def feature(self) -> int:
        """Width of the model state as the heads see it: deter and the flattened one-hot latents."""
        return self.deter + self.stoch * self.classes


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


def unimix(logits: Tensor, dim: int) -> Tensor:
    """Probabilities of a categorical over axis `dim`, mixed with a small share of the uniform distribution."""
    return logits.float().softmax(dim) * (1 - UNIMIX) + UNIMIX / logits.shape[dim]


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL divergence in nats between categoricals given by probabilities, summed over latents. [..., K, S] -> [...]."""
    return (p * (p.log() - q.log())).sum((-2, -1))


class RSSM(nn.Module):
    """Sequence model. What does not depend on the recurrent state is computed outside the time loop, for all steps.

    Shapes: T steps, B windows, D deter, S latents of K classes, E embedding, A action width, H hidden, G blocks.
    """

    def __init__(self, size: ModelSize, embed: int, action: int) -> None:
        super().__init__()
        deter, hidden, blocks = size.deter, size.hidden, size.blocks
        self.size = size
        stoch = size.stoch * size.classes
        per_block = deter // blocks
        self.deter_in, self.deter_norm = Linear(deter, hidden), NormAct(hidden)
        self.stoch_in, self.stoch_norm = Linear(stoch, hidden), NormAct(hidden)
        self.action_in = nn.Sequential(Linear(action, hidden), NormAct(hidden))
        fan_in = size.block_fan_in(per_block + 3 * hidden)  # each block sees its part of deter and all inputs
        self.mix_deter = BlockLinear(blocks, per_block, per_block, fan_in, bias=False)
        self.mix_state = Linear(2 * hidden, deter, fan_in=fan_in, bias=False)
        self.mix_action = Linear(hidden, deter, fan_in=fan_in)  # its bias is that of the sum
        self.mix_norm = NormAct(deter)
        self.gates = BlockLinear(blocks, per_block, 3 * per_block, size.block_fan_in(per_block))
        assert self.gates.bias is not None
        nn.init.constant_(self.gates.bias[..., -per_block:], -1.0)  # the state is kept at first
        self.post_deter = Linear(deter, hidden, fan_in=deter + embed)
        self.post_embed = Linear(embed, hidden, fan_in=deter + embed, bias=False)
        self.post_norm, self.post_out = NormAct(hidden), Linear(hidden, stoch)
        self.prior_net = Head(deter, hidden, 2, stoch)

    def initial(self, rows: int) -> State:
        """The zero state at the start of an episode."""
        weight = self.gates.weight
        shape = (rows, self.size.classes, self.size.stoch)
        return State(weight.new_zeros(rows, self.size.deter), weight.new_zeros(shape))

    def prior(self, deter: Tensor) -> Tensor:
        """Probabilities of the next latents before seeing the observation. [..., D] -> [..., K, S]."""
        return self._probs(self.prior_net(deter))

    def observe(
        self, embed: Tensor, action: Tensor, is_first: Tensor, state: State, noise: Tensor
    ) -> tuple[State, Tensor]:
        """Posterior states of a sequence.

        embed [T, B, E]; action [T, B, A], the action *before* each observation; is_first [T, B], where the state
        is reset; state [B], before the first step; noise [T, B, 1, S], uniform.
        Returns the states [T, B] (straight-through samples) and the posterior probabilities [T, B, K, S].
        """
        keep = (~is_first).unsqueeze(-1).float()  # [T, B, 1]
        drive = self._drive(reset(action, is_first.unsqueeze(-1)))
        seen = self.post_embed(embed) + self.post_deter.bias
        start = (state.deter, state.stoch.flatten(-2))
        weights = self.weights(drive.dtype)
        deter, stoch, probs = Recurrence.apply(drive, seen, keep, noise, *start, *weights)  # type: ignore[no-untyped-call]
        return State(deter, stoch), probs

    @torch.no_grad()
    def step(self, state: State, action: Tensor, noise: Tensor, out: State | None = None) -> State:
        """One imagined step: the next state drawn from the prior. state [N], action [N, A], noise [N, 1, S].

        No gradient goes through it. out: where the result is written.
        """
        drive = self._drive(action)
        to_deter, to_stoch = out or (None, None)
        deter, _ = cell(self.weights(drive.dtype), state.deter, state.stoch.flatten(-2), drive, to_deter)
        return State(deter, one_hot_sample(self.prior(deter), noise, -2, to_stoch))

    def split(self, feature: Tensor) -> State:
        """The state that a feature [..., D + K S] is made of, as views of it."""
        deter, stoch = feature.split_with_sizes([self.size.deter, self.size.stoch * self.size.classes], -1)
        return State(deter, stoch.unflatten(-1, (self.size.classes, self.size.stoch)))

    def _drive(self, action: Tensor) -> Tensor:
        """The action's part of the GRU input: [..., A] -> [..., D]. Continuous actions are scaled into the unit box."""
        y: Tensor = self.mix_action(self.action_in(action / action.abs().clamp(min=1.0)))
        return y

    def weights(self, dtype: torch.dtype) -> Weights:
        """The weights of a step, for products in `dtype`."""
        assert self.gates.bias is not None
        weights = Weights(
            deter=self.deter_in.weight.t(),
            deter_bias=self.deter_in.bias,
            stoch=self.stoch_in.weight.t(),
            stoch_bias=self.stoch_in.bias,
            scale=torch.stack([self.deter_norm.weight, self.stoch_norm.weight]),
            mix_deter=self.mix_deter.weight,
            mix_inputs=self.mix_state.weight.t(),
            mix_scale=self.mix_norm.weight,
            gates=self.gates.weight,
            gates_bias=self.gates.bias,
            post_deter=self.post_deter.weight.t(),
            post_scale=self.post_norm.weight,
            post_out=self.post_out.weight.t(),
            post_bias=self.post_out.bias,
        )
        return weights.to(dtype)

    def _probs(self, logits: Tensor) -> Tensor:
        return unimix(logits.unflatten(-1, (self.size.classes, self.size.stoch)), -2)
