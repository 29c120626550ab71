"""The two-hot code, against a dense code made with NumPy in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from worldmodel.model.twohot import TwoHot

CODE = TwoHot()
TAIL = np.expm1(np.linspace(0, 20, 128))[1:]
BINS = np.concatenate([-TAIL[::-1], [0.0], TAIL])  # ascending
LOGITS = np.concatenate([[0.0], TAIL, -TAIL])  # the bin that each logit stands for
scalars = st.one_of(st.floats(-1e8, 1e8, width=32), st.floats(-3, 3, width=32), st.sampled_from(BINS.tolist()))


def dense(value: float) -> np.ndarray:
    """The code [255] of a value, in the order of the logits: linear interpolation between neighbouring bins."""
    shares = np.array([np.interp(value, BINS, row) for row in np.eye(len(BINS))])
    return shares[[BINS.tolist().index(bin) for bin in LOGITS]]


def test_bins() -> None:
    np.testing.assert_allclose(CODE.bins.numpy(), BINS, rtol=1e-5)
    assert torch.equal(CODE.bins, -CODE.bins.flip(0)) and CODE.bins[127] == 0
    assert not list(CODE.state_dict())


@given(scalars)
def test_the_mean_of_a_code_is_the_value(value: float) -> None:
    logits = torch.from_numpy(np.log(np.maximum(dense(value), 1e-300))).float()
    assert CODE.mean(logits).item() == pytest.approx(value, rel=2e-5, abs=1e-6)


@given(scalars, st.integers(0, 10))
def test_loss_is_the_cross_entropy_to_the_dense_code(value: float, seed: int) -> None:
    logits = 3 * torch.randn(255, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = -(torch.from_numpy(dense(value)) * logits.log_softmax(-1)).sum()
    assert CODE.loss(logits, (torch.tensor(value), 1.0)).item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-4)


def test_gradient_is_the_softmax_less_the_code() -> None:
    """For two targets of each row, of which the second counts half, and rows that lie apart in memory."""
    logits = torch.randn(255, 4).t().requires_grad_()
    values, others, weight = [-1e9, -0.3, 0.0, 77.7], [3.0, -0.3, 1e9, 0.1], torch.tensor([1.0, -2.0, 0.5, 3.0])
    CODE.loss(logits, (torch.tensor(values), 1.0), (torch.tensor(others), 0.5)).backward(weight)
    codes = np.stack([dense(value) + 0.5 * dense(other) for value, other in zip(values, others, strict=True)])
    expected = (1.5 * logits.detach().double().softmax(-1) - torch.from_numpy(codes)) * weight.double().unsqueeze(-1)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.double(), expected, rtol=1e-4, atol=2e-5)


def test_equal_tails_give_exactly_zero() -> None:
    assert CODE.mean(torch.zeros(3, 255)).tolist() == [0.0, 0.0, 0.0]
    tail = torch.randn(5, 127)
    assert not CODE.mean(torch.cat([torch.randn(5, 1), tail, tail], -1)).any()


def test_several_targets_are_summed_by_their_scale() -> None:
    logits, a, b = torch.randn(2, 3, 255), torch.randn(2, 3), 100 * torch.randn(2, 3)
    both = CODE.loss(logits, (a, 0.5), (b, 2.0))
    torch.testing.assert_close(both, 0.5 * CODE.loss(logits, (a, 1.0)) + 2 * CODE.loss(logits, (b, 1.0)))
    assert both.shape == (2, 3)


def test_targets_beyond_the_bins_are_clamped() -> None:
    logits = torch.randn(255)
    for value, place in ((1e30, 127), (math.inf, 127), (-1e30, 254), (-math.inf, 254)):
        expected = F.cross_entropy(logits, torch.tensor(place))
        torch.testing.assert_close(CODE.loss(logits, (torch.tensor(value), 1.0)), expected)
    assert CODE.loss(logits, (torch.tensor(math.nan), 1.0)).isnan()


def test_low_precision_logits() -> None:
    logits = torch.randn(6, 255, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(0))
    assert CODE.mean(logits).dtype == CODE.loss(logits, (torch.zeros(6), 1.0)).dtype == torch.float32
    shares = logits.double().softmax(-1)[..., CODE.place] * CODE.bins.double()
    for mean in (CODE.mean(logits), CODE.mean(logits.float())):
        assert ((mean - shares.sum(-1)).abs() <= 1e-6 * shares.abs().sum(-1)).all()


def test_the_mean_is_exact_under_autocast() -> None:
    """A matrix product would round values to 8 bits: errors of 0.4 % of each tail, not of 1e-6."""
    logits = torch.randn(64, 255, generator=torch.Generator().manual_seed(1), requires_grad=True)
    shares = logits.detach().double().softmax(-1)[..., CODE.place] * CODE.bins.double()
    with torch.autocast("cpu", torch.bfloat16):
        mean = CODE.mean(logits)
    assert mean.dtype == torch.float32
    assert ((mean - shares.sum(-1)).abs() <= 1e-6 * shares.abs().sum(-1)).all()
