"""LaProp with adaptive gradient clipping, against a scalar reference in Python floats."""

import copy
import io
import math
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import Tensor

from worldmodel.train.laprop import LaProp, NonFiniteGradient
from worldmodel.train.optimizers import LaPropConfig

Rows = list[list[float]]
PRESET = Path(__file__).parents[3] / "configs" / "optimizer" / "laprop.yaml"


def reference(start: Rows, gradients: list[Rows], lr: float, clip: float, beta1: float, beta2: float, eps: float,
              warmup: int) -> Rows:  # fmt: skip
    """Written from the papers, number by number: clip by the norms of tensors, scale by the RMS, then momentum.

    LaProp (arXiv 2002.04839, algorithm 1): n_t = b2 n + (1 - b2) g^2; m_t = b1 m + (1 - b1) g / (sqrt(n_t / (1 - b2^t))
    + eps); p -= lr m_t / (1 - b1^t). Clipping (arXiv 2102.06171, eq. 3) by whole tensors.
    """
    p = [list(tensor) for tensor in start]
    m, n = [[0.0] * len(x) for x in p], [[0.0] * len(x) for x in p]
    for t, step in enumerate(gradients, 1):
        rate = lr * (min(t / warmup, 1.0) if warmup else 1.0)
        for i, gradient in enumerate(step):
            norm = math.sqrt(sum(g * g for g in gradient))
            limit = clip * max(math.sqrt(sum(x * x for x in p[i])), 1e-3)
            shrink = limit / norm if clip and norm > limit else 1.0
            for j, g in enumerate(gradient):
                n[i][j] = beta2 * n[i][j] + (1 - beta2) * (g * shrink) ** 2
                scaled = g * shrink / (math.sqrt(n[i][j] / (1 - beta2**t)) + eps)
                m[i][j] = beta1 * m[i][j] + (1 - beta1) * scaled
            p[i] = [x - rate * value / (1 - beta1**t) for x, value in zip(p[i], m[i], strict=True)]
    return p


START: Rows = [[1.0, -2.0, 0.5], [0.0, 0.0], [1e-5]]


def random_gradients(steps: int, seed: int = 0) -> list[Rows]:
    """Of many magnitudes, some beyond the clip."""
    random = torch.Generator().manual_seed(seed)
    return [
        [(torch.randn(len(row), generator=random) * 10.0 ** (i % 5 - 3)).tolist() for row in START]
        for i in range(steps)
    ]


def run(optimizer: LaProp, parameters: list[Tensor], gradients: list[Rows]) -> None:
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = torch.tensor(gradient, dtype=parameter.dtype)
        optimizer.step()


def parameters(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.tensor(row, dtype=dtype, requires_grad=True) for row in START]


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.01, "clip": 0.3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-20, "warmup": 0},
        {"lr": 0.01, "clip": 0.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "warmup": 0},
        {"lr": 0.1, "clip": 0.05, "beta1": 0.5, "beta2": 0.9, "eps": 1e-3, "warmup": 7},
        {"lr": 0.1, "clip": 0.3, "beta1": 0.0, "beta2": 0.0, "eps": 1e-3, "warmup": 1},
    ],
)
def test_against_the_reference(options: dict[str, float]) -> None:
    gradients = random_gradients(12)
    expected = reference(START, gradients, **options)  # type: ignore[arg-type]
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 2e-5)):
        ours = parameters(dtype)
        run(LaProp(ours, **options), ours, gradients)  # type: ignore[arg-type]
        for parameter, row in zip(ours, expected, strict=True):
            assert parameter.tolist() == pytest.approx(row, rel=tolerance, abs=tolerance)


def test_the_compiled_pass_is_that_of_the_operators() -> None:
    """For every number, however many threads share them; to the rounding of float32, against float64's operators."""
    before, results = torch.get_num_threads(), []
    for dtype, threads in ((torch.float64, 1), (torch.float32, 1), (torch.float32, 3)):
        random = torch.Generator().manual_seed(0)
        rows = [torch.randn(shape, generator=random) for shape in ((700, 600), (1,), (3, 5, 7), (0, 2))]
        ours = [row.to(dtype).requires_grad_() for row in rows]
        optimizer = LaProp(ours, lr=0.01, clip=0.01, warmup=3)
        torch.set_num_threads(threads)
        for step in range(5):
            for p in ours:
                grad = torch.randn(p.shape[::-1], generator=random).to(dtype) * 10.0 ** (step - 2)
                p.grad = grad.permute(*range(p.dim() - 1, -1, -1))  # in another order in memory
            versions = [p._version for p in ours]
            optimizer.step()
            assert all(p._version > version for p, version in zip(ours, versions, strict=True))  # packed copies ask
        torch.set_num_threads(before)
        results.append(ours)
    exact, one, three = results
    for a, b, c in zip(exact, one, three, strict=True):
        assert torch.equal(b, c)
        torch.testing.assert_close(b, a.float(), rtol=1e-5, atol=1e-6)


def test_first_step_has_the_length_of_the_learning_rate() -> None:
    ours = parameters()
    run(LaProp(ours, lr=0.25), ours, [[[3.0, -1e-6, 1e-12], [0.0, 5.0], [-1.0]]])
    assert ours[0].tolist() == pytest.approx([0.75, -1.75, 0.25])
    assert ours[1].tolist() == [0.0, -0.25]  # no gradient, no movement
    assert ours[2].tolist() == pytest.approx([1e-5 + 0.25])


def test_momentum_comes_after_the_scaling() -> None:
    """What tells LaProp from Adam: a first gradient that was huge weighs no more than any other."""
    a, b = (torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    for parameter, first in ((a, 1.0), (b, 1e6)):
        optimizer = LaProp([parameter], lr=1.0, clip=0.0, beta2=0.0)
        for gradient in (first, -1.0, -1.0):
            parameter.grad = torch.tensor([gradient], dtype=torch.float64)
            optimizer.step()
    assert a.item() == pytest.approx(b.item())


def test_gradients_are_left_as_they_are() -> None:
    ours = parameters()
    gradients = random_gradients(1)
    run(LaProp(ours, lr=0.1, clip=1e-3), ours, gradients)
    assert [p.grad.tolist() for p in ours if p.grad is not None] == gradients[0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_is_refused_before_anything_has_changed(value: float) -> None:
    ours = parameters()
    optimizer = LaProp([{"params": ours[:2]}, {"params": ours[2:], "clip": 0.0}], lr=0.1)
    run(optimizer, ours, random_gradients(2))
    before, state = [p.tolist() for p in ours], copy.deepcopy(optimizer.state_dict())
    with pytest.raises(NonFiniteGradient):
        run(optimizer, ours, [[[1.0, 1.0, 1.0], [1.0, 1.0], [value]]])
    assert [p.tolist() for p in ours] == before
    torch.testing.assert_close(optimizer.state_dict(), state, rtol=0, atol=0)


def test_a_norm_may_overflow() -> None:
    """Where the gradient itself is finite, clipping by an infinite norm leaves nothing of it."""
    one, two = (torch.ones(2, requires_grad=True) for _ in range(2))
    optimizer = LaProp([one, two], lr=0.5)
    one.grad, two.grad = torch.full((2,), 3e38), torch.ones(2)
    optimizer.step()
    assert one.tolist() == [1.0, 1.0] and two.tolist() == [0.5, 0.5]
    plain = LaProp([one], lr=0.5, clip=0.0)  # whose mean square would be infinite for good
    with pytest.raises(NonFiniteGradient, match="too large"):
        plain.step()
    assert one.tolist() == [1.0, 1.0] and not plain.state


def test_groups_and_missing_gradients() -> None:
    one, two, idle = (torch.ones(2, requires_grad=True) for _ in range(3))
    optimizer = LaProp([{"params": [one], "lr": 0.5}, {"params": [two, idle], "beta1": 0.0}], lr=0.125)
    one.grad, two.grad = torch.ones(2), torch.ones(2)
    optimizer.step()
    assert one.tolist() == [0.5, 0.5] and two.tolist() == [0.875, 0.875] and idle.tolist() == [1.0, 1.0]
    assert idle not in optimizer.state
    idle.grad, two.grad = torch.ones(2), None
    optimizer.step()  # the bias correction of a parameter counts its own steps
    assert idle.tolist() == [0.875, 0.875] and two.tolist() == [0.875, 0.875]


def test_closure() -> None:
    parameter = torch.tensor([2.0], requires_grad=True)
    optimizer = LaProp([parameter], lr=0.5)

    def closure() -> float:
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert parameter.item() == 1.5 and parameter.requires_grad


@pytest.mark.parametrize("warmup", [0, 10])
def test_continues_from_its_state_to_the_bit(warmup: int) -> None:
    gradients = random_gradients(9)
    whole = parameters(torch.float32)
    run(LaProp(whole, lr=0.1, warmup=warmup), whole, gradients)
    first = parameters(torch.float32)
    optimizer = LaProp(first, lr=0.1, warmup=warmup)
    run(optimizer, first, gradients[:4])
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    second = [p.detach().clone().requires_grad_() for p in first]
    again = LaProp(second, lr=9.0, warmup=3)
    again.load_state_dict(torch.load(file, weights_only=True))
    run(again, second, gradients[4:])
    for a, b in zip(whole, second, strict=True):
        assert torch.equal(a, b)


def test_copies_are_independent() -> None:
    ours = parameters()
    optimizer = LaProp(ours, lr=0.1)
    run(optimizer, ours, random_gradients(2))
    state = copy.deepcopy(optimizer.state_dict())
    run(optimizer, ours, random_gradients(2, seed=1))
    assert state["state"][0]["step"] == 2 and optimizer.state[ours[0]]["step"] == 4
    assert not torch.equal(state["state"][0]["mean"], optimizer.state[ours[0]]["mean"])


def test_tiny_gradients_neither_vanish_nor_explode() -> None:
    parameter = torch.ones(4, requires_grad=True)
    optimizer = LaProp([parameter], lr=0.25)
    parameter.grad = torch.tensor([1e-12, 1e-16, -1e-19, 0.0])
    optimizer.step()
    assert parameter.tolist() == pytest.approx([0.75, 0.75, 1.25, 1.0], rel=0.1)


@pytest.mark.parametrize(("key", "value"), [("lr", 0.0), ("beta1", 1.0), ("clip", -0.1), ("eps", 0), ("warmup", -1)])
def test_options_are_checked(key: str, value: float) -> None:
    options = yaml.safe_load(PRESET.read_text())
    LaPropConfig(**options)
    with pytest.raises(ValidationError, match=key):
        LaPropConfig(**options | {key: value})
