"""Returns and their scale, by hand, as sums of n-step returns, and against NumPy's percentiles."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.worldmodel.model.agents import BEHAVIOR
from worldmodel.model.actor import Categoricals, Normals
from worldmodel.model.categorical import kl
from worldmodel.model.config import BehaviorConfig
from worldmodel.model.layers import symexp, symlog
from worldmodel.model.returns import ReturnScale, lambda_return


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def by_n_steps(reward: np.ndarray, value: np.ndarray, live: np.ndarray, mix: np.ndarray) -> list[float]:
    """From each step the mean of all n-step returns, n weighted by the chance that the trace ends there."""
    last = len(reward) - 1
    returns = []
    for start in range(last):
        total, reach, gained, alive = 0.0, 1.0, 0.0, 1.0
        for at in range(start + 1, last + 1):
            gained += alive * reward[at]
            alive *= live[at]
            stop = 1.0 if at == last else 1 - mix[at]
            total += reach * stop * (gained + alive * value[at])
            reach *= mix[at]
        returns.append(total)
    return returns


def test_by_hand() -> None:
    reward, value, live = column(9, 1, 2), column(9, 10, 20), column(9, 0.5, 0.9)
    # R_1 = 2 + 0.9 * 20 = 20;  R_0 = 1 + 0.5 (0.25 * 10 + 0.75 * 20) = 9.75
    assert lambda_return(reward, value, live, 0.75).tolist() == pytest.approx([9.75, 20.0])
    assert lambda_return(reward, value, live, 0.0).tolist() == pytest.approx([1 + 0.5 * 10, 20.0])
    assert lambda_return(reward, value, live, 1.0).tolist() == pytest.approx([1 + 0.5 * 20, 20.0])


def test_terminated_and_truncated_by_hand() -> None:
    reward, value = column(0, 1, 2, 4), column(0, 100, 200, 300)
    live, mix = column(1, 1, 1, 1), column(1, 1, 1, 1)
    assert lambda_return(reward, value, live, mix).tolist() == [307, 306, 304]
    terminated = live * column(1, 1, 0, 1)  # nothing after the arrival in step 2 counts
    assert lambda_return(reward, value, terminated, mix * column(1, 1, 0, 1)).tolist() == [3, 2, 304]
    truncated = mix * column(1, 1, 0, 1)  # the value of step 2 stands for what would have come
    assert lambda_return(reward, value, live, truncated).tolist() == [203, 202, 304]


@given(st.integers(1, 6), st.integers(0, 1000))
def test_as_a_sum_of_n_step_returns(steps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    reward, value = rng.normal(size=(2, steps + 1, 2))
    live, mix = rng.uniform(size=(2, steps + 1, 2)) * rng.integers(2, size=(2, steps + 1, 2))
    ours = lambda_return(*(torch.from_numpy(x) for x in (reward, value, live, mix)))
    theirs = [by_n_steps(reward[:, i], value[:, i], live[:, i], mix[:, i]) for i in range(2)]
    np.testing.assert_allclose(ours.numpy(), np.transpose(theirs), rtol=1e-9, atol=1e-12)


def test_what_stands_at_the_first_step_does_not_matter() -> None:
    ours = lambda_return(column(np.nan, 1), column(np.nan, 5), column(np.nan, 0.5), column(np.nan, 0.9))
    assert ours.tolist() == [3.5]


def test_return_scale_is_a_running_percentile_range() -> None:
    rng = np.random.default_rng(0)
    scale, low, high = ReturnScale(0.1), 0.0, 0.0
    for _ in range(5):
        returns = rng.normal(50, 20, size=(15, 200))
        got = scale(torch.from_numpy(returns).float())
        a, b = np.percentile(returns, [5, 95], method="inverted_cdf")
        low, high = 0.9 * low + 0.1 * a, 0.9 * high + 0.1 * b
        assert got.item() == pytest.approx(high - low, rel=1e-5)
    assert scale.low.item() == pytest.approx(low, rel=1e-5)


def test_return_scale_is_never_below_one_and_is_kept() -> None:
    scale = ReturnScale(1.0)
    assert scale(torch.full((4, 5), 7.0)).item() == 1.0
    assert scale(torch.tensor([3.0])).item() == 1.0
    assert scale(torch.tensor([0.0, 10.0])).item() == 10.0
    again = ReturnScale(1.0)
    again.load_state_dict(scale.state_dict())
    assert (again.low.item(), again.high.item()) == (0.0, 10.0)


EXACT: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "lambda_return": lambda a, b: lambda_return(a, b, b.sigmoid(), 0.95),
    "lambda_return, cut": lambda a, b: lambda_return(a, b, b.sigmoid(), (a > 0).to(a.dtype)),
    "return scale": lambda a, b: ReturnScale(1.0).to(a.dtype)(a),
    "symexp": lambda a, b: symexp(a),
    "symlog": lambda a, b: symlog(a),
    "kl": lambda a, b: kl(a.softmax(-2), b.softmax(-2)),
    "log_prob, discrete": lambda a, b: Categoricals((a.softmax(-1),)).log_prob((b == b.amax(-1, True)).to(a.dtype)),
    "entropy, discrete": lambda a, b: Categoricals((a.softmax(-1),)).entropy(),
    "log_prob, continuous": lambda a, b: Normals(a.tanh(), b.sigmoid() + 0.1).log_prob(b),
    "entropy, continuous": lambda a, b: Normals(a, b.sigmoid() + 0.1).entropy(),
    "reach": lambda a, b: b.sigmoid().cumprod(0),
    "center": lambda a, b: (b.sigmoid() * a).sum() / b.sigmoid().sum().clamp(min=1e-8),
}


@pytest.mark.parametrize("name", EXACT)
def test_autocast_lowers_none_of_what_must_be_exact(name: str) -> None:
    """bfloat16 would show as errors of 0.4 %; float32's are below 0.001 % of what is summed."""
    a, b = 3 * torch.randn(2, 15, 6, 8, generator=torch.Generator().manual_seed(0))
    expected = EXACT[name](a.double(), b.double())
    with torch.autocast("cpu", torch.bfloat16):
        got = EXACT[name](a, b)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)


def test_discount() -> None:
    assert BehaviorConfig(**BEHAVIOR).discount == pytest.approx(332 / 333)
    for key, value in (("return_lambda", 1.1), ("horizon", 0), ("slow_rate", 0.0), ("discount_horizon", 1.0)):
        with pytest.raises(ValidationError, match=key):
            BehaviorConfig(**BEHAVIOR | {key: value})
