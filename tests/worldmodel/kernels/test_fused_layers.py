"""Compiled rows against PyTorch's operators in float64."""

import copy
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.worldmodel.model.agents import (
    CONTINUOUS,
    DISCRETE,
    VECTOR,
    by_operators,
    generator,
    make_agent,
    make_windows,
)
from worldmodel.envs import ActionSpec
from worldmodel.kernels import fused_layers
from worldmodel.model.heads.mlp import MLPHead
from worldmodel.model.layers import EPS, norm_silu_passes


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def randomised(net: MLPHead) -> MLPHead:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(generator=generator(1))
    return net


def exact(net: MLPHead, x: Tensor) -> Tensor:
    """What the head gives in float64, by operators that have gradients of their own."""
    for linear, norm in net.trunk.pairs():
        x = F.silu(F.rms_norm(linear(x), norm.weight.shape, norm.weight, EPS))
    y: Tensor = net.out(x)
    return y


def close(ours: Tensor | None, theirs: Tensor | None, terms: int = 1) -> None:
    """To six digits of the largest entry; what rounding does to a sum of n terms grows as sqrt(n), from 1,000 on."""
    assert ours is not None and theirs is not None and ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 2e-6 * max(1.0, (terms / 1000) ** 0.5) * theirs.abs().max()


@pytest.mark.parametrize("count", [1, 40, 3000])
def test_a_head_that_was_passed_has_the_gradients_of_its_weights(count: int, threads: int) -> None:
    net, x = randomised(MLPHead(9, 20, 3, 5)), torch.randn(2, count, 9, generator=generator())
    grad = torch.randn(2, count, 5, generator=generator(2))
    pre, y = [], x
    with torch.no_grad():
        for linear, norm in net.trunk.pairs():
            pre.append(linear(y))
            y = norm(pre[-1])
        out = net.out(y)
    passed = fused_layers.head(net, x, torch.stack(pre), out)
    assert torch.equal(passed, out)
    passed.backward(grad)
    found = [parameter.grad for parameter in net.parameters()]
    net = net.double()
    net.zero_grad()
    exact(net, x.double()).backward(grad.double())
    for ours, parameter in zip(found, net.parameters(), strict=True):
        close(ours, parameter.grad, 2 * count)


def test_a_mask_that_the_cache_does_not_keep_lives_as_long_as_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two first calls at once make two masks, and the cache drops one: gradients were NaN in some first updates."""
    made, buffers = fused_layers._fresh.__wrapped__, []

    def released(width: int) -> Tensor:
        buffers.append(made(width).numpy())
        mask = torch.from_numpy(buffers[-1])
        weakref.finalize(mask, buffers[-1].fill, np.nan)
        return mask

    monkeypatch.setattr(fused_layers, "_fresh", released)
    test_a_head_that_was_passed_has_the_gradients_of_its_weights(40, 1)
    assert buffers


@pytest.mark.parametrize("shape", [(1, 16), (2, 40, 37), (3000, 24)])
def test_norm_and_silu_of_rows(shape: tuple[int, ...], threads: int) -> None:
    x, scale = (torch.randn(size, generator=generator(), requires_grad=True) for size in (shape, shape[-1:]))
    grad = torch.randn(shape[::-1], generator=generator(1)).permute(*range(len(shape) - 1, -1, -1))
    wide, broad = (part.detach().double().requires_grad_() for part in (x, scale))
    y, exact = fused_layers.norm_silu(x, scale, EPS), F.silu(F.rms_norm(wide, shape[-1:], broad, EPS))
    close(y, exact)
    y.backward(grad)
    exact.backward(grad.double())
    close(x.grad, wide.grad)
    close(scale.grad, broad.grad, shape[0])


@pytest.mark.parametrize("kind", ["narrow", "double", "autocast"])
def test_norm_and_silu_of_what_kernels_do_not_take(kind: str) -> None:
    x = torch.randn(3, 5 if kind == "narrow" else 32, dtype=torch.float64 if kind == "double" else torch.float32)
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
        arguments = x, torch.ones(x.shape[1]), EPS
        assert torch.equal(fused_layers.norm_silu(*arguments), norm_silu_passes(*arguments))


@pytest.mark.parametrize("action", [DISCRETE, CONTINUOUS])
def test_an_update_by_kernels_is_that_by_operators(action: ActionSpec) -> None:
    """The gradients of all weights, to four digits of the largest of a tensor. No draw differs by rounding here."""
    agent = make_agent(VECTOR, action)
    windows = make_windows(agent)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator(1)))
    found = []
    for kernels in (True, False):
        twin = copy.deepcopy(agent)  # for the return scale moves
        if not kernels:
            by_operators(twin)
        twin.losses(windows, generator(5)).total.backward()
        found.append({name: p.grad for name, p in twin.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys() and len(found[0]) > 40
    for name, ours in found[0].items():
        assert (ours - found[1][name]).abs().max() <= 1e-4 * found[1][name].abs().max(), name
