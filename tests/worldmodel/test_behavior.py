"""Returns and their scale, by hand, as sums of n-step returns, and against NumPy's percentiles."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.worldmodel.agents import BEHAVIOR
from worldmodel.behavior import BehaviorConfig, ReturnScale, lambda_return


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


def test_discount() -> None:
    assert BehaviorConfig(**BEHAVIOR).discount == pytest.approx(332 / 333)
    for key, value in (("return_lambda", 1.1), ("horizon", 0), ("slow_rate", 0.0), ("discount_horizon", 1.0)):
        with pytest.raises(ValidationError, match=key):
            BehaviorConfig(**BEHAVIOR | {key: value})
