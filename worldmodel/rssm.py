"""Recurrent state-space model: a deterministic block GRU and categorical latents (DreamerV3, arXiv 2301.04104)."""

from typing import Annotated, Any, NamedTuple

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from worldmodel.nets import BlockLinear, Head, Linear, NormAct

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


def unimix(logits: Tensor, dim: int, share: float = 0.01) -> Tensor:
    """Probabilities of a categorical over axis `dim`, mixed with `share` of the uniform distribution."""
    return logits.float().softmax(dim) * (1 - share) + share / logits.shape[dim]


def one_hot_sample(probs: Tensor, uniform: Tensor, dim: int) -> Tensor:
    """Exact categorical sample over axis `dim` as one-hot, by inversion; uniform in [0, 1), of size 1 there."""
    over = (probs.cumsum(dim) > uniform).to(probs.dtype)
    over.select(dim, -1).fill_(1.0)  # where rounding has left the sum below 1
    sample = over.clone()
    classes = probs.shape[dim]
    sample.narrow(dim, 1, classes - 1).sub_(over.narrow(dim, 0, classes - 1))
    return sample


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL divergence in nats between categoricals given by probabilities, summed over latents. [..., K, S] -> [...]."""
    return (p * (p.log() - q.log())).sum((-2, -1))


class StraightThrough(torch.autograd.Function):
    """Forward the sample, backward the gradient of its probabilities."""

    @staticmethod
    def forward(ctx: Any, sample: Tensor, probs: Tensor) -> Tensor:
        return sample.view_as(sample)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, grad


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
        self.deter_in = nn.Sequential(Linear(deter, hidden), NormAct(hidden))
        self.stoch_in = nn.Sequential(Linear(stoch, hidden), NormAct(hidden))
        self.action_in = nn.Sequential(Linear(action, hidden), NormAct(hidden))
        fan_in = per_block + 3 * hidden  # each block sees its part of deter and all inputs
        self.mix_deter = BlockLinear(blocks, per_block, per_block, fan_in, bias=False)
        self.mix_state = Linear(2 * hidden, deter, fan_in=fan_in, bias=False)
        self.mix_action = Linear(hidden, deter, fan_in=fan_in)  # its bias is that of the sum
        self.mix_norm = NormAct(deter)
        self.gates = BlockLinear(blocks, per_block, 3 * per_block)
        assert self.gates.bias is not None
        nn.init.constant_(self.gates.bias[..., -per_block:], -1.0)  # the state is kept at first
        self.post_deter = Linear(deter, hidden, fan_in=deter + embed)
        self.post_embed = Linear(embed, hidden, fan_in=deter + embed, bias=False)
        self.post_out = nn.Sequential(NormAct(hidden), Linear(hidden, stoch))
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
        keep = (~is_first).unsqueeze(-1).to(embed.dtype)  # [T, B, 1]
        drive = self._drive(action * keep)
        seen = self.post_embed(embed)
        deter, stoch = state.deter, state.stoch.flatten(-2)
        deters, stochs, probs = [], [], []
        for drive_t, seen_t, keep_t, noise_t in zip(drive, seen, keep, noise, strict=True):
            deter = self._core(deter * keep_t, stoch * keep_t, drive_t)
            post = self._probs(self.post_out(self.post_deter(deter) + seen_t))
            sample = one_hot_sample(post.detach(), noise_t, -2)
            stoch = StraightThrough.apply(sample, post).flatten(-2)  # type: ignore[no-untyped-call]
            deters.append(deter)
            stochs.append(stoch)
            probs.append(post)
        posterior = torch.stack(probs)
        return State(torch.stack(deters), torch.stack(stochs).view(posterior.shape)), posterior

    def step(self, state: State, action: Tensor, noise: Tensor) -> State:
        """One imagined step: the next state drawn from the prior. state [N], action [N, A], noise [N, 1, S]."""
        deter = self._core(state.deter, state.stoch.flatten(-2), self._drive(action))
        return State(deter, one_hot_sample(self.prior(deter), noise, -2))

    def _drive(self, action: Tensor) -> Tensor:
        """The action's part of the GRU input: [..., A] -> [..., D]. Continuous actions are scaled into the unit box."""
        y: Tensor = self.mix_action(self.action_in(action / action.abs().clamp(min=1.0)))
        return y

    def _core(self, deter: Tensor, stoch: Tensor, drive: Tensor) -> Tensor:
        """The block GRU: [N, D], [N, K S], [N, D] -> [N, D]."""
        inputs = torch.cat([self.deter_in(deter), self.stoch_in(stoch)], -1)
        blocks = self.mix_deter(deter)  # [N, G, D / G]
        mixed = torch.addmm(drive, inputs, self.mix_state.weight.t()).view(blocks.shape) + blocks
        hidden = self.mix_norm(mixed.flatten(1))
        reset, candidate, update = self.gates(hidden).float().chunk(3, -1)  # [N, G, D / G] each, also under autocast
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        return torch.lerp(deter.view(candidate.shape), candidate, torch.sigmoid(update)).flatten(1)

    def _probs(self, logits: Tensor) -> Tensor:
        return unimix(logits.unflatten(-1, (self.size.classes, self.size.stoch)), -2)
