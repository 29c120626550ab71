"""Weights as compiled kernels read them: in panels of eight outputs, which are computed together."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from worldmodel.model.heads.mlp import MLPHead
from worldmodel.model.layers import MLP, Linear, NormAct

Array = NDArray[np.float32]
Layer = tuple[Array, Array, Array]  # of Linear and NormAct: panels, bias, scale
Output = tuple[Array, Array]  # of Linear: panels, bias

PANEL = 8


def array(x: Tensor) -> Array:
    """The numbers of a tensor, which are not copied where they lie as numpy needs them."""
    numbers: Array = x.detach().contiguous().numpy()
    return numbers


def packed(weight: Tensor) -> Array:
    """A matrix of weights [..., O, I] as panels [..., ceil(O / 8), I, 8], filled up with zeros."""
    missing = -weight.shape[-2] % PANEL
    full = F.pad(weight, (0, 0, 0, missing)) if missing else weight
    return array(full.unflatten(-2, (-1, PANEL)).transpose(-1, -2))


def padded(bias: Tensor) -> Array:
    """A bias [..., O] with zeros for the outputs by which panels are filled up."""
    missing = -bias.shape[-1] % PANEL
    full = F.pad(bias, (0, missing)) if missing else bias
    return array(full)


def layer_of(linear: Linear, norm: NormAct) -> Layer:
    """The weights of a layer."""
    return *output_of(linear), array(norm.weight)


def output_of(linear: Linear) -> Output:
    """The weights of an output."""
    return packed(linear.weight), padded(linear.bias)


def trunk_of(mlp: MLP) -> tuple[Layer, ...]:
    """The weights of an MLP."""
    return tuple(layer_of(linear, norm) for linear, norm in mlp.pairs())


def head_of(head: MLPHead) -> tuple[tuple[Layer, ...], Output]:
    """The weights of a MLPHead."""
    return trunk_of(head.trunk), output_of(head.out)
