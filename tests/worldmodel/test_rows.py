"""Compiled rows against PyTorch's operators in float64."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from envs import ActionSpec
from tests.worldmodel.agents import CONTINUOUS, DISCRETE, VECTOR, generator, make_agent, make_windows
from worldmodel import rows
from worldmodel.nets import EPS, MLP, Head, NormAct, fits_rows
from worldmodel.twohot import TwoHot


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def randomised(net: Head) -> Head:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(generator=generator(1))
    return net


def exact(net: Head, x: Tensor) -> Tensor:
    """What the head gives in float64, by operators that have gradients of their own."""
    for linear, norm in net.trunk.pairs():
        x = F.silu(F.rms_norm(linear(x), norm.weight.shape, norm.weight, EPS))
    y: Tensor = net.out(x)
    return y


def close(ours: Tensor | None, theirs: Tensor | None, terms: int = 1) -> None:
    """To six digits of the largest entry; what rounding does to a sum of n terms grows as sqrt(n), from 1,000 on."""
    assert ours is not None and theirs is not None and ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 2e-6 * max(1.0, (terms / 1000) ** 0.5) * theirs.abs().max()


@pytest.mark.parametrize("units", [16, 23, 64])
@pytest.mark.parametrize("shape", [(), (1,), (5, 7), (3, 700)])
def test_layers_and_their_gradients(units: int, shape: tuple[int, ...], threads: int) -> None:
    net, x = randomised(Head(11, units, 2, 3)), torch.randn(*shape, 11, generator=generator(), requires_grad=True)
    grad = torch.randn(*shape, 3, generator=generator(2))
    y = net(x)
    assert "Layer" in str(net.trunk(x).grad_fn) or shape == ()
    y.backward(grad)
    found = [x.grad, *(parameter.grad for parameter in net.parameters())]
    net, wide = net.double(), x.detach().double().requires_grad_()
    net.zero_grad()
    expected = exact(net, wide)
    expected.backward(grad.double())
    for ours, theirs in zip([y, *found], [expected, wide.grad, *(p.grad for p in net.parameters())], strict=True):
        close(ours, theirs, x.shape[:-1].numel())


@pytest.mark.parametrize("count", [1, 40, 3000])
def test_a_head_that_was_passed_has_the_gradients_of_its_weights(count: int, threads: int) -> None:
    net, x = randomised(Head(9, 20, 3, 5)), torch.randn(2, count, 9, generator=generator())
    grad = torch.randn(2, count, 5, generator=generator(2))
    pre, y = [], x
    with torch.no_grad():
        for linear, norm in net.trunk.pairs():
            pre.append(linear(y))
            y = norm(pre[-1])
        out = net.out(y)
    passed = rows.head(net, x, torch.stack(pre), out)
    assert torch.equal(passed, out)
    passed.backward(grad)
    found = [parameter.grad for parameter in net.parameters()]
    net = net.double()
    net.zero_grad()
    exact(net, x.double()).backward(grad.double())
    for ours, parameter in zip(found, net.parameters(), strict=True):
        close(ours, parameter.grad, 2 * count)


def test_two_hot_codes_of_many_rows(threads: int) -> None:
    """Their losses, gradients and means, against dense codes."""
    code, random = TwoHot(), generator()
    logits = (3 * torch.randn(2, 300, 255, generator=random)).requires_grad_()
    target, other = 100 * torch.randn(2, 300, generator=random), torch.randn(2, 300, generator=random)
    weight = torch.randn(2, 300, generator=random)
    code.loss(logits, (target, 1.0), (other, 0.5)).backward(weight)
    wide = logits.detach().double().requires_grad_()
    dense = sum(
        scale * F.relu(1 - (position(code, value).unsqueeze(-1) - torch.arange(255)).abs())[..., order(code)]
        for value, scale in ((target, 1.0), (other, 0.5))
    )
    (-(dense * wide.log_softmax(-1)).sum(-1)).backward(weight.double())
    close(logits.grad, wide.grad)
    shares = wide.detach().softmax(-1) * code.bins.double()[order(code)]
    assert ((code.mean(logits.detach()) - shares.sum(-1)).abs() <= 1e-6 * shares.abs().sum(-1)).all()


def test_rows_that_do_not_lie_one_after_the_other() -> None:
    code, logits = TwoHot(), torch.randn(255, 40, generator=generator())
    target, apart = torch.linspace(-3, 3, 40), logits.t()
    assert torch.equal(code.mean(apart), code.mean(apart.clone(memory_format=torch.contiguous_format)))
    assert torch.equal(code.loss(apart, (target, 1.0)), code.loss(apart.contiguous(), (target, 1.0)))


def order(code: TwoHot) -> Tensor:
    """Which bin each logit stands for."""
    return torch.argsort(code.place)


def position(code: TwoHot, value: Tensor) -> Tensor:
    """Where a value lies among the bins, counted from 0, between two of them in proportion."""
    bins, wide = code.bins.double(), value.double()
    below = torch.searchsorted(bins, wide, right=True) - 1
    return below + (wide - bins[below]) / (bins[below + 1] - bins[below])


@pytest.mark.parametrize("action", [DISCRETE, CONTINUOUS])
def test_an_update_by_kernels_is_that_by_operators(monkeypatch: pytest.MonkeyPatch, action: ActionSpec) -> None:
    """The gradients of all weights, to four digits of the largest of a tensor. No draw differs by rounding here."""
    agent = make_agent(VECTOR, action)
    windows = make_windows(agent)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator(1)))
    found = []
    for kernels in (True, False):
        if not kernels:
            for place in ("agent.fits_kernels", "recurrence.fits_kernels", "nets.fits_rows", "twohot.fits_rows"):
                monkeypatch.setattr(f"worldmodel.{place}", lambda *_: False)
        twin = copy.deepcopy(agent)  # for the return scale moves
        twin.losses(windows, generator(5)).total.backward()
        found.append({name: p.grad for name, p in twin.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys() and len(found[0]) > 40
    for name, ours in found[0].items():
        assert (ours - found[1][name]).abs().max() <= 1e-4 * found[1][name].abs().max(), name


def test_what_is_not_finite_stays_so() -> None:
    x = torch.zeros(40, 33)
    for place in (0, 17, 32):  # in a register of its own, and in the last, which overlaps it
        x[place, place] = torch.nan
    logits = torch.zeros(40, 255)
    logits[[0, 17, 32], [0, 254, 127]] = torch.nan
    layer = rows.Layer.apply(x, torch.eye(33), torch.zeros(33), torch.ones(33))  # type: ignore[no-untyped-call]
    for value in (layer.sum(-1), TwoHot().mean(logits), TwoHot().loss(logits, (torch.zeros(40), 1.0))):
        assert value.isnan().nonzero().flatten().tolist() == [0, 17, 32]


def test_where_operators_stay() -> None:
    assert fits_rows(torch.zeros(2, 3), torch.zeros(16)) and not fits_rows(torch.zeros(2, 3), torch.zeros(15))
    assert not fits_rows(torch.zeros(2, 3, dtype=torch.bfloat16), torch.zeros(16))
    with torch.autocast("cpu", torch.bfloat16):
        assert not fits_rows(torch.zeros(2, 3), torch.zeros(16))
    assert isinstance(MLP(3, 8, 1)[1], NormAct) and MLP(3, 8, 1)(torch.zeros(2, 3)).shape == (2, 8)
