"""Actor: distributions over actions from model states."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.envs.spaces.spaces import ActionSpec
from worldmodel.model.categorical import one_hot_sample, unimix
from worldmodel.model.factory import DEFAULT, Factory

STD = (0.1, 1.0)  # bounds of the standard deviation of continuous actions


class Actor(nn.Module):
    """Discrete components: categoricals with 1 % uniform mix. Continuous: normals with tanh mean and bounded deviation.

    Shapes: feature [..., F]; action [..., A], one-hots side by side or values around [-1, 1].
    """

    def __init__(self, feature: int, units: int, spec: ActionSpec, parts: Factory = DEFAULT) -> None:
        super().__init__()
        self.spec = spec
        self.outputs = spec.width if spec.kind == "discrete" else 2 * spec.width
        self.net = parts.head("actor", feature, units, 3, self.outputs, scale=0.01)

    def forward(self, feature: Tensor) -> "Policy":
        return self.policy(self.net(feature))

    def policy(self, raw: Tensor) -> "Policy":
        """The distribution that the network's output [..., A] or, for continuous actions, [..., 2 A] stands for."""
        raw = raw.float()
        if self.spec.kind == "discrete":
            return Categoricals(tuple(unimix(part, -1) for part in torch.split(raw, list(self.spec.sizes), -1)))
        mean, std = raw.chunk(2, -1)
        low, high = STD
        return Normals(torch.tanh(mean), (high - low) * torch.sigmoid(std + 2) + low)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        """What samples of policies [...] are made of: uniform [..., components], or standard normal [..., A]."""
        device = next(self.net.parameters()).device
        if self.spec.kind == "discrete":
            return torch.empty(*shape, len(self.spec.sizes), device=device).uniform_(generator=generator)
        return torch.empty(*shape, self.spec.width, device=device).normal_(generator=generator)


class Categoricals(NamedTuple):
    """Independent categoricals, one per component of the action; probabilities [..., K_i]."""

    probs: tuple[Tensor, ...]

    def sample(self, noise: Tensor) -> Tensor:
        parts = zip(self.probs, noise.split(1, -1), strict=True)
        return torch.cat([one_hot_sample(probs, uniform, -1) for probs, uniform in parts], -1)

    def mode(self) -> Tensor:
        return torch.cat([F.one_hot(p.argmax(-1), p.shape[-1]).to(p.dtype) for p in self.probs], -1)

    def log_prob(self, action: Tensor) -> Tensor:
        parts = torch.split(action, [p.shape[-1] for p in self.probs], -1)
        return torch.stack([(a * p.log()).sum(-1) for a, p in zip(parts, self.probs, strict=True)]).sum(0)

    def entropy(self) -> Tensor:
        return torch.stack([-(p * p.log()).sum(-1) for p in self.probs]).sum(0)


class Normals(NamedTuple):
    """Independent normals; mean and std [..., A]."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        return self.mean + self.std * noise

    def mode(self) -> Tensor:
        return self.mean

    def log_prob(self, action: Tensor) -> Tensor:
        z = (action - self.mean) / self.std
        return (-0.5 * z.square() - self.std.log() - 0.9189385332046727).sum(-1)  # log sqrt(2 pi)

    def entropy(self) -> Tensor:
        return (self.std.log() + 1.4189385332046727).sum(-1)  # log sqrt(2 pi e)


Policy = Categoricals | Normals
