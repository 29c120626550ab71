"""Actor: distributions over actions from model states."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from envs.spaces import ActionSpec
from worldmodel.nets import Head
from worldmodel.recurrence import one_hot_sample
from worldmodel.rssm import unimix

STD = (0.1, 1.0)  # bounds of the standard deviation of continuous actions


class Actor(nn.Module):
    """Discrete components: categoricals with 1 % uniform mix. Continuous: normals with tanh mean and bounded deviation.

    Shapes: feature [..., F]; action [..., A], one-hots side by side or values around [-1, 1].
    """

    def __init__(self, feature: int, units: int, spec: ActionSpec) -> None:
        super().__init__()
        self.spec = spec
        outputs = spec.width if spec.kind == "discrete" else 2 * spec.width
        self.net = Head(feature, units, 3, outputs, scale=0.01)

    def forward(self, feature: Tensor) -> "Policy":
        raw = self.net(feature).float()
        if self.spec.kind == "discrete":
            return Categoricals(tuple(unimix(part, -1) for part in torch.split(raw, list(self.spec.sizes), -1)))
        mean, std = raw.chunk(2, -1)
        low, high = STD
        return Normals(torch.tanh(mean), (high - low) * torch.sigmoid(std + 2) + low)


class Categoricals(NamedTuple):
    """Independent categoricals, one per component of the action; probabilities [..., K_i]."""

    probs: tuple[Tensor, ...]

    def sample(self, generator: torch.Generator | None) -> Tensor:
        uniform = [torch.empty_like(p[..., :1]).uniform_(generator=generator) for p in self.probs]
        return torch.cat([one_hot_sample(p, u, -1) for p, u in zip(self.probs, uniform, strict=True)], -1)

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

    def sample(self, generator: torch.Generator | None) -> Tensor:
        return self.mean + self.std * torch.empty_like(self.mean).normal_(generator=generator)

    def mode(self) -> Tensor:
        return self.mean

    def log_prob(self, action: Tensor) -> Tensor:
        z = (action - self.mean) / self.std
        return (-0.5 * z.square() - self.std.log() - 0.9189385332046727).sum(-1)  # log sqrt(2 pi)

    def entropy(self) -> Tensor:
        return (self.std.log() + 1.4189385332046727).sum(-1)  # log sqrt(2 pi e)


Policy = Categoricals | Normals
