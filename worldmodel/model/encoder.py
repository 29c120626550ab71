"""Encoder: observations of several keys to one embedding."""

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.envs.spaces.spaces import ObservationSpec
from worldmodel.model.layers import MLP, Conv, NormAct, symlog
from worldmodel.model.size import ModelSize

MULTIPLES = (2, 3, 4, 4)  # channels of the convolutions, in units of size.depth; each halves the resolution


def flat_inputs(
    observation: Mapping[str, Tensor], specs: Mapping[str, ObservationSpec], squash: Callable[[Tensor], Tensor] = symlog
) -> Tensor:
    """Vectors through `squash` and categories as one-hots, side by side. [..., n] each -> [..., sum of widths]."""
    parts = []
    for key, spec in specs.items():
        value = observation[key]
        if spec.kind == "vector":
            parts.append(squash(value.float()))
        elif spec.kind == "categorical":
            parts += [F.one_hot(value[..., i].long(), n).float() for i, n in enumerate(spec.classes)]
    return torch.cat(parts, -1)


class ChannelNormAct(NormAct):
    """RMS normalisation over the channels of [N, C, H, W], then SiLU."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Convolution(nn.Sequential):
    """5x5 convolution, halving of the resolution by max-pooling, normalisation, SiLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(Conv(inputs, outputs), nn.MaxPool2d(2), ChannelNormAct(outputs))


class Encoder(nn.Module):
    """Vectors and categories through an MLP, every image through its own CNN, concatenated.

    Shapes: observation of keys [T, B, ...] -> [T, B, width].
    """

    def __init__(self, specs: Mapping[str, ObservationSpec], size: ModelSize) -> None:
        super().__init__()
        self.images = {key: spec for key, spec in specs.items() if spec.kind == "image"}
        self.flat = {key: spec for key, spec in specs.items() if spec.kind != "image"}
        self.width = 0
        if self.flat:
            inputs = sum(sum(spec.classes) or spec.shape[0] for spec in self.flat.values())
            self.mlp = MLP(inputs, size.units, 3)
            self.width += size.units
        self.cnns = nn.ModuleList()
        for height, width, channels in (spec.shape for spec in self.images.values()):
            widths = [channels] + [m * size.depth for m in MULTIPLES]
            self.cnns.append(nn.Sequential(*(Convolution(i, o) for i, o in pairwise(widths))))
            self.width += widths[-1] * (height // 16) * (width // 16)

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        parts = [self.mlp(flat_inputs(observation, self.flat))] if self.flat else []
        for key, cnn in zip(self.images, self.cnns, strict=True):
            image = observation[key]  # [T, B, H, W, C]
            x = cnn(image.flatten(0, 1).movedim(-1, 1).float() / 255 - 0.5)
            parts.append(x.flatten(1).view(*image.shape[:2], -1))
        return torch.cat(parts, -1)
