"""Decoder: model states back to observations, and the reconstruction losses."""

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.envs.spaces.spaces import ObservationSpec
from worldmodel.model.batch import State
from worldmodel.model.encoder import MULTIPLES, ChannelNormAct
from worldmodel.model.layers import MLP, BlockLinear, Conv, Linear, NormAct, symexp, symlog
from worldmodel.model.size import ModelSize


class ImageDecoder(nn.Module):
    """Transposed CNN: a block-wise spatial projection of the state, then four doublings of the resolution.

    Shapes: state [N] -> pixel probabilities [N, H, W, C] in 0..1.
    """

    def __init__(self, spec: ObservationSpec, size: ModelSize) -> None:
        super().__init__()
        height, width, channels = spec.shape
        widths = [m * size.depth for m in MULTIPLES]
        self.grid = (size.blocks, height // 16, width // 16, widths[-1] // size.blocks or 1)
        outputs = math.prod(self.grid[1:])
        top = size.blocks * self.grid[3]
        per_block = size.deter // size.blocks
        self.deter_in = BlockLinear(size.blocks, per_block, outputs, size.block_fan_in(per_block))
        self.stoch_in = nn.Sequential(
            Linear(size.stoch * size.classes, 2 * size.units),
            NormAct(2 * size.units),
            Linear(2 * size.units, size.blocks * outputs),
        )
        self.norm = ChannelNormAct(top)
        widths = [top, *reversed(widths[:-1])]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), Conv(i, o), ChannelNormAct(o)) for i, o in pairwise(widths)
        )
        self.out = nn.Sequential(nn.Upsample(scale_factor=2), Conv(widths[-1], channels))

    def forward(self, state: State) -> Tensor:
        x = self.deter_in(state.deter) + self.stoch_in(state.stoch.flatten(-2)).unflatten(-1, (self.grid[0], -1))
        x = x.unflatten(-1, self.grid[1:]).permute(0, 1, 4, 2, 3).flatten(1, 2)  # [N, G C', h, w]
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x)
        image: Tensor = self.out(x).movedim(1, -1)
        return image.float().sigmoid()


class Decoder(nn.Module):
    """One MLP trunk with a linear output per vector or categorical key, one CNN per image."""

    def __init__(self, specs: Mapping[str, ObservationSpec], size: ModelSize) -> None:
        super().__init__()
        self.specs = dict(specs)
        self.flat = [key for key, spec in specs.items() if spec.kind != "image"]
        self.images = [key for key, spec in specs.items() if spec.kind == "image"]
        if self.flat:
            self.trunk = MLP(size.feature, size.units, 3)
        self.outs = nn.ModuleList(Linear(size.units, sum(specs[k].classes) or specs[k].shape[0]) for k in self.flat)
        self.cnns = nn.ModuleList(ImageDecoder(specs[key], size) for key in self.images)

    def forward(self, state: State) -> dict[str, Tensor]:
        """Raw outputs per key for states [T, B]: symlog means, class logits side by side, or pixels in 0..1."""
        outputs: dict[str, Tensor] = {}
        if self.flat:
            hidden = self.trunk(state.feature)
            outputs |= {key: out(hidden).float() for key, out in zip(self.flat, self.outs, strict=True)}
        rows = State(state.deter.flatten(0, 1), state.stoch.flatten(0, 1))
        for key, cnn in zip(self.images, self.cnns, strict=True):
            outputs[key] = cnn(rows).unflatten(0, state.deter.shape[:2])
        return outputs

    def losses(self, outputs: Mapping[str, Tensor], observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Reconstruction loss per key, summed over its entries. [T, B]."""
        losses = {}
        for key, output in outputs.items():
            spec, target = self.specs[key], observation[key]
            if spec.kind == "vector":
                losses[key] = (output - symlog(target.float())).square().sum(-1)
            elif spec.kind == "image":
                losses[key] = (output - target.float() / 255).square().sum((-3, -2, -1))
            else:
                parts = torch.split(output, list(spec.classes), -1)
                losses[key] = torch.stack(
                    [
                        F.cross_entropy(part.movedim(-1, 1), target[..., i].long(), reduction="none")
                        for i, part in enumerate(parts)
                    ]
                ).sum(0)
        return losses

    def predictions(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Most likely observations: vectors in raw units, images uint8, category indices."""
        values = {}
        for key, output in outputs.items():
            spec = self.specs[key]
            if spec.kind == "vector":
                values[key] = symexp(output)
            elif spec.kind == "image":
                values[key] = (output * 255).round().to(torch.uint8)
            else:
                parts = torch.split(output, list(spec.classes), -1)
                values[key] = torch.stack([part.argmax(-1) for part in parts], -1)
        return values
