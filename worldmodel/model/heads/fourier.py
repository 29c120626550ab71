"""Trained Fourier features of the angles that a circuit would encode."""

import math

import torch
from torch import Tensor, nn

from hybrid_opt.circuits.encodings.registry import ENCODINGS
from hybrid_opt.layers.config import CircuitConfig
from worldmodel.model.heads.base.readout import ReadoutHead


class Fourier(nn.Module):
    """cos and sin of a x + b for each of M inputs in each of L layers, [..., M] -> [..., 2 L M].

    The frequency a of layer l is l at first: a circuit that encodes its inputs L times has those from 1 to L. If all
    began at 1, most routers of two moons would stay near the best line (accuracy 0.93 instead of 0.995).
    """

    angular = True

    def __init__(self, circuit: CircuitConfig) -> None:
        super().__init__()
        self.encoding = ENCODINGS.find(circuit.encoding, "circuit.encoding")()
        self.inputs: int = self.encoding.inputs(circuit.qubits)
        self.outputs = 2 * circuit.layers * self.inputs
        frequencies = torch.arange(1.0, circuit.layers + 1)[:, None]  # those that as many uploads make
        self.scale = nn.Parameter(frequencies.expand(-1, self.inputs).clone())
        self.shift = nn.Parameter(torch.empty(circuit.layers, self.inputs).uniform_(-math.pi, math.pi))

    def forward(self, x: Tensor) -> Tensor:
        angles = (x[..., None, :] * self.scale + self.shift).flatten(-2)  # [..., L M]
        return torch.cat([angles.cos(), angles.sin()], -1)


class FourierHead(ReadoutHead):
    """Control of `circuit`: is it more than the frequencies that it can make (Schuld et al., arXiv 2008.08605)?"""

    body = Fourier
