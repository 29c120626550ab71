"""Building blocks, against PyTorch's own operators in float64 and closed forms."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.worldmodel.model.agents import generator
from worldmodel.model.heads.mlp import MLPHead
from worldmodel.model.layers import (
    MLP,
    BlockLinear,
    FusedNormSiLU,
    Linear,
    NormAct,
    norm_silu_operators,
    symexp,
    symlog,
    truncated_normal_,
)


def test_symlog() -> None:
    x = torch.cat([torch.logspace(-6, 6, 200), torch.zeros(1)])
    assert symlog(torch.tensor(math.e - 1)).item() == pytest.approx(1.0)
    assert symlog(torch.tensor(-99.0)).item() == pytest.approx(-math.log(100))
    assert torch.equal(symlog(-x), -symlog(x))
    torch.testing.assert_close(symexp(symlog(x)), x, rtol=5e-6, atol=0)
    assert symexp(torch.tensor([0.0, 1.0, -1.0])).tolist() == pytest.approx([0, math.e - 1, 1 - math.e])


def test_truncated_normal() -> None:
    torch.manual_seed(0)
    weight = torch.empty(400, 500)
    truncated_normal_(weight, fan_in=100, scale=3.0)
    assert weight.std().item() == pytest.approx(0.3, rel=0.01)  # 200,000 draws: the standard error is 0.15 %
    assert weight.mean().item() == pytest.approx(0.0, abs=0.003)
    assert 0.95 < weight.abs().max().item() / (2 * 0.3 / 0.8796) <= 1.0
    truncated_normal_(weight, fan_in=100, scale=0.0)
    assert not weight.any()


@pytest.mark.parametrize(("layer", "fan_in"), [(Linear(300, 200), 300), (Linear(300, 200, fan_in=900), 900)])
def test_linear_starts_with_its_fan_in(layer: Linear, fan_in: int) -> None:
    assert layer.weight.std().item() == pytest.approx(fan_in**-0.5, rel=0.03)
    assert not layer.bias.any()
    assert BlockLinear(4, 300, 50).weight.std().item() == pytest.approx(300**-0.5, rel=0.03)
    assert BlockLinear(4, 300, 50, 1200).weight.std().item() == pytest.approx(1200**-0.5, rel=0.03)


def test_head_that_starts_at_zero() -> None:
    head = MLPHead(5, 8, 2, 3, scale=0.0)
    assert not head(torch.randn(4, 5)).any()
    loss = (head(torch.randn(4, 5)) - 1).square().sum()
    loss.backward()
    assert head.out.weight.grad is not None and head.out.weight.grad.any()  # and still learns


def test_block_linear_is_a_block_diagonal_matrix() -> None:
    layer = BlockLinear(3, 4, 5)
    nn.init.normal_(layer.bias)
    x = torch.randn(7, 12)
    dense = torch.block_diag(*layer.weight)  # [12, 15]
    torch.testing.assert_close(layer(x).flatten(1), x @ dense + layer.bias.flatten())


def reference(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.silu(F.rms_norm(x, weight.shape, weight, eps))


@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 1, 2)])
def test_norm_act_equals_the_operators_of_pytorch(shape: tuple[int, ...]) -> None:
    random = generator()
    layer = NormAct(10)
    with torch.no_grad():
        layer.weight.normal_(generator=random)
    x = (3 * torch.randn(*shape, 10, generator=random)).requires_grad_()
    grad = torch.randn(*shape, 10, generator=random)
    y = layer(x)
    y.backward(grad)
    exact, weight = x.detach().double().requires_grad_(), layer.weight.detach().double().requires_grad_()
    expected = reference(exact, weight, layer.eps)
    expected.backward(grad.double())
    for ours, theirs in ((y, expected), (x.grad, exact.grad), (layer.weight.grad, weight.grad)):
        assert ours is not None and theirs is not None
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_norm_act_gradient_numerically() -> None:
    """Central differences in float32, wide enough for its precision; a direction at a time."""
    random = generator(1)
    x, weight = torch.randn(4, 6, generator=random), torch.randn(6, generator=random)
    direction, turn = torch.randn(4, 6, generator=random), torch.randn(6, generator=random)
    a, b = x.clone().requires_grad_(), weight.clone().requires_grad_()
    FusedNormSiLU.apply(a, b, 1e-4).sum().backward()  # type: ignore[no-untyped-call]
    h = 1e-2

    def value(at: float) -> float:
        return float(reference((x + at * direction).double(), (weight + at * turn).double(), 1e-4).sum())

    slope = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)
    assert a.grad is not None and b.grad is not None
    assert float((a.grad * direction).sum() + (b.grad * turn).sum()) == pytest.approx(slope, rel=1e-4)


def test_norm_act_in_bfloat16() -> None:
    layer = NormAct(64)
    x = torch.randn(5, 64, dtype=torch.bfloat16, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.dtype == torch.bfloat16 and x.grad is not None and x.grad.dtype == torch.bfloat16
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32
    expected = reference(x.detach().double(), layer.weight.detach().double(), layer.eps)
    torch.testing.assert_close(y.double(), expected, rtol=2**-8, atol=2**-9)  # one rounding, of the result


def test_the_operators_that_cuda_takes_round_once() -> None:
    """The learned scale stays in float32: 1.001 would be 1 in bfloat16."""
    x = torch.randn(5, 64, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(0))
    weight = torch.linspace(1.0, 1.01, 64)
    y = norm_silu_operators(x, weight, 1e-4)
    expected = reference(x.double(), weight.double(), 1e-4)
    assert y.dtype == torch.bfloat16 and torch.equal(y, expected.bfloat16())


def test_norm_act_of_zeros() -> None:
    x = torch.zeros(3, 5, requires_grad=True)
    y = NormAct(5)(x)
    y.sum().backward()
    assert not y.any() and x.grad is not None and x.grad.isfinite().all()


def test_mlp_is_linear_norm_act_repeated() -> None:
    mlp = MLP(3, 7, 2)
    x = torch.randn(2, 4, 3)
    y = x
    for linear, norm in ((mlp[0], mlp[1]), (mlp[2], mlp[3])):
        y = reference(y @ linear.weight.T + linear.bias, norm.weight, norm.eps)
    assert len(mlp) == 4 and mlp(x).shape == (2, 4, 7)
    torch.testing.assert_close(mlp(x), y)
