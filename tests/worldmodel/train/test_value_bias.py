"""Predicted values against what evaluated episodes bring: exact for values that are known."""

import numpy as np
import pytest
from worldmodel.envs.environments import Step

from worldmodel.envs import Episode, Records
from worldmodel.train.value_bias import ValueBias

DISCOUNT = 0.9


def records(streams: list[int], rewards: list[float], first: bool = False, end: str = "") -> Records:
    count = len(streams)
    flags = (np.full(count, flag) for flag in (first, end == "terminated", end == "truncated"))
    return Records(np.array(streams, np.int64), {}, np.array(rewards, np.float32), *flags)


def watched(values: list[list[float]], rewards: list[float], end: str) -> dict[str, float]:
    """One stream that plays one episode with these rewards; values: predicted before each step."""
    said = iter(values)
    bias = ValueBias(lambda memory: np.array(memory, np.float32), DISCOUNT)
    for number, reward in enumerate(rewards):
        last = number == len(rewards) - 1
        before = records([0], [0.0], first=number == 0)
        ended = records([0], [reward], end=end) if last else records([], [])
        current = records([0], [0.0 if last else reward], first=last)
        bias.see(before, next(said), Step(current, ended, [Episode(0, 1, 0.0)] if last else []))
    return bias.metrics([Episode(0, len(rewards), sum(rewards))])


def test_the_return_of_a_terminated_episode_is_discounted_from_its_second_reward() -> None:
    found = watched([[5.0], [0.0], [0.0]], [1.0, 2.0, 4.0], "terminated")
    assert found["eval/value"] == 5.0
    assert found["eval/value_bias"] == pytest.approx(5.0 - (1 + 0.9 * 2 + 0.81 * 4))


def test_a_truncated_episode_goes_on_with_its_last_value() -> None:
    """A value that is exact, of a reward of 1 for ever, has no bias wherever it is cut."""
    exact = 1 / (1 - DISCOUNT)
    for steps in (1, 2, 7):
        found = watched([[exact]] * steps, [1.0] * steps, "truncated")
        assert found["eval/value_bias"] == pytest.approx(0.0, abs=1e-6)


def test_streams_count_for_their_share_alone() -> None:
    """Two streams of episodes of one step; the first has played one more than it was to."""
    bias = ValueBias(lambda memory: np.array(memory, np.float32), DISCOUNT)
    for rewards in ([1.0, 3.0], [50.0, 5.0]):
        ended = records([0, 1], rewards, end="terminated")
        episodes = [Episode(stream, 1, reward) for stream, reward in enumerate(rewards)]
        bias.see(records([0, 1], [0, 0], first=True), [2.0, 2.0], Step(records([0, 1], [0, 0], True), ended, episodes))
    found = bias.metrics([Episode(0, 1, 1.0), Episode(1, 1, 3.0), Episode(1, 1, 5.0)])
    assert found == {"eval/value": 2.0, "eval/value_bias": pytest.approx(2.0 - 3.0)}
