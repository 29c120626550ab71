"""Building blocks of the networks: layers, normalisation and the symlog transform."""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-4  # added to mean squares before their root is taken


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(1 + |x|): compresses magnitudes of any scale (DreamerV3, arXiv 2301.04104, eq. 9)."""
    return torch.sign(x) * torch.log1p(x.abs())


def symexp(x: Tensor) -> Tensor:
    """The inverse of `symlog`."""
    return torch.sign(x) * torch.expm1(x.abs())


def truncated_normal_(weight: Tensor, fan_in: int, scale: float = 1.0) -> None:
    """Fill with a normal truncated at two deviations, of variance scale^2 / fan_in; scale 0 gives zeros."""
    std = scale / math.sqrt(fan_in) / 0.87962566103423978  # the deviation of a unit normal truncated at +-2
    with torch.no_grad():
        if scale == 0.0:
            weight.zero_()
        else:
            nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class Linear(nn.Linear):
    """Linear layer with fan-in truncated-normal weights and zero bias; `scale` multiplies the initial weights."""

    def __init__(self, inputs: int, outputs: int, scale: float = 1.0, bias: bool = True, fan_in: int | None = None):
        self._scale, self._fan_in = scale, fan_in or inputs
        super().__init__(inputs, outputs, bias)

    def reset_parameters(self) -> None:
        truncated_normal_(self.weight, self._fan_in, self._scale)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class Conv(nn.Conv2d):
    """5x5 convolution that keeps the resolution, with fan-in truncated-normal weights and zero bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 5, padding=2)

    def reset_parameters(self) -> None:
        truncated_normal_(self.weight, self.in_channels * 25)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class Scale(nn.Module):
    """A learned scale of each feature, which brings expectations out of [-1, 1]. Shapes: [..., F] -> [..., F]."""

    angular = True  # it learns at the rate of angles

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class BlockLinear(nn.Module):
    """Block-diagonal linear layer: block g of the input is multiplied by its own matrix.

    Shapes: [N, G * I] -> [N, G, O]; N rows, G blocks of I inputs and O outputs.
    """

    def __init__(self, blocks: int, inputs: int, outputs: int, fan_in: int | None = None, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(blocks, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(blocks, 1, outputs)) if bias else None
        truncated_normal_(self.weight, fan_in or inputs)

    def forward(self, x: Tensor) -> Tensor:
        blocks = x.view(x.shape[0], self.weight.shape[0], -1).transpose(0, 1)  # [G, N, I]
        y = torch.bmm(blocks, self.weight) if self.bias is None else torch.baddbmm(self.bias, blocks, self.weight)
        return y.transpose(0, 1)


def norm_silu_operators(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """SiLU(x / rms(x) * weight) by PyTorch's operators: computed in float32, given in the precision of x."""
    return F.silu(F.rms_norm(x.float(), weight.shape, weight, eps)).to(x.dtype)


class FusedNormSiLU(torch.autograd.Function):
    """SiLU(x / rms(x) * weight) with half the passes over memory that the two operators take on the CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        y, normed, inverse = norm_silu(x, weight, eps)
        ctx.save_for_backward(normed, weight, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, weight, inverse = ctx.saved_tensors
        dx, share = norm_silu_backward(grad, normed, inverse, weight)
        return dx.to(grad.dtype), share.flatten(0, -2).sum(0), None


def norm_silu_passes(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """What `norm_silu_operators` gives, by `FusedNormSiLU`."""
    y: Tensor = FusedNormSiLU.apply(x, weight, eps)  # type: ignore[no-untyped-call]
    return y


class NormAct(nn.Module):
    """RMS normalisation over the last axis with a learned scale, then SiLU (the pair always occurs together)."""

    passes = staticmethod(norm_silu_passes)  # on the CPU; `worldmodel.kernels.for_agent` may give another

    def __init__(self, features: int, eps: float = EPS) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda:
            return norm_silu_operators(x, self.weight, self.eps)
        return self.passes(x, self.weight, self.eps)


def norm_silu(x: Tensor, weight: Tensor, eps: float = EPS) -> tuple[Tensor, Tensor, Tensor]:
    """SiLU(n * weight) in the precision of x, with n = x / rms(x) and 1 / rms(x), which its backward pass needs."""
    wide = x.float()
    norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    inverse = norm.square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_()
    normed = wide * inverse
    return F.silu(normed * weight, inplace=True).to(x.dtype), normed, inverse


def norm_silu_backward(grad: Tensor, normed: Tensor, inverse: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient at x, and what each row adds to that of the weight, in float32 and the shape of x.

    With z = n * weight and dz the gradient at z: dweight = sum dz n, and dx = (dz weight - n mean(dz weight n)) / rms.
    """
    dz = torch.ops.aten.silu_backward(grad.float(), normed * weight)
    share = dz * normed
    mean = (share * weight).mean(-1, keepdim=True)
    return dz.mul_(weight).addcmul_(normed, mean, value=-1).mul_(inverse), share


class MLP(nn.Sequential):
    """Layers of Linear, RMS normalisation and SiLU. Shapes: [..., inputs] -> [..., units]."""

    def __init__(self, inputs: int, units: int, layers: int) -> None:
        widths = [inputs] + [units] * layers
        super().__init__(*(m for i, o in pairwise(widths) for m in (Linear(i, o), NormAct(o))))

    def pairs(self) -> list[tuple[Linear, NormAct]]:
        """Each layer's two modules."""
        modules: list[Any] = list(self)
        return list(zip(modules[::2], modules[1::2], strict=True))
