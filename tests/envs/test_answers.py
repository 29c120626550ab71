"""Answers that are not what the environment declares: one line, before anything casts, resizes or broadcasts them."""

import warnings
from decimal import Decimal
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from worldmodel.envs.answers import Answers
from worldmodel.envs.errors import UnsupportedSpace, WrongAnswer

from tests.envs.test_environments import config, play
from worldmodel.envs import EnvironmentFault, Environments

WRONG = {
    "float picture": "observation 'observation' has type float64, its space declares uint8",
    "turned picture": "observation 'observation' has shape (70, 50, 3), its space declares (50, 70, 3)",
    "wide picture": "observation 'observation' has value 256, its space declares uint8",
    "float integers": "observation 'observation' has type float64, its space declares int64",
    "keys": "observation 'observation' has keys ['a'], its space declares a dict with the keys ['a', 'b']",
    "text": "observation 'observation' has type str, its space declares float32",
    "old reset": "reset() returned ndarray, no (observation, info): this environment speaks the old Gym API",
}


def answering(how: str, num: int, mode: str = "sync", since: int = 0) -> Environments:
    kwargs = {"how": how, "since": since}
    return Environments(config("tests.envs.custom:Answering-v0", kwargs=kwargs, vectorization=mode), num, 0)


@pytest.mark.filterwarnings("ignore:.*is resized")
@pytest.mark.parametrize("num", [1, 2])
@pytest.mark.parametrize("how", WRONG)
def test_a_first_observation_that_is_not_of_its_space(how: str, num: int) -> None:
    env = answering(how, num)
    with pytest.raises(EnvironmentFault) as caught:
        env.reset()
    assert str(caught.value).startswith(f"tests.envs.custom:Answering-v0, stream 0: {WRONG[how]}")
    env.close()


@pytest.mark.filterwarnings("ignore:.*is resized")
@pytest.mark.parametrize("how", ["wide picture", "float integers", "keys"])
def test_a_later_observation_that_is_not_of_its_space(how: str) -> None:
    env = answering(how, 2, since=2)
    env.reset()
    play(env, 1)
    with pytest.raises(EnvironmentFault) as caught:
        play(env, 1)
    assert WRONG[how] in str(caught.value)
    env.close()


def test_a_step_of_the_old_interface() -> None:
    env = answering("old step", 1)
    env.reset()
    with pytest.raises(EnvironmentFault, match=r"stream 0: step\(\) returned 4 values, .* the old Gym API"):
        play(env, 1)
    env.close()


@pytest.mark.parametrize(("mode", "filters"), [("sync", "error"), ("sync", "ignore"), ("async", "error")])
def test_bounds_hold_for_the_first_observation_and_are_told_once_later(
    mode: str, filters: Literal["error", "ignore"]
) -> None:
    text = r"observation 'observation' has value 1.5, its space declares -1.0 to 1.0"
    env = answering("range", 2, mode)
    with pytest.raises(EnvironmentFault, match=text):
        env.reset()
    env.close()
    env = answering("range", 2, mode, since=2)
    env.reset()
    with pytest.warns(UserWarning, match=text) as told:
        warnings.simplefilter(filters)  # as an environment may do
        play(env, 8)
    assert len(told) == 1
    np.testing.assert_array_equal(env.current.observation["observation"].shape, (2, 2))
    env.close()


def test_keys_that_are_not_declared_are_told_once() -> None:
    env = answering("more keys", 2)
    env.reset()
    text = r"observation 'observation': keys that its space does not declare are left out: b, c$"
    with pytest.warns(UserWarning, match=text) as told:
        play(env, 8)
    assert len(told) == 1 and list(env.current.observation) == ["a"]
    env.close()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_environment_with_statistics_of_its_own(mode: str) -> None:
    env = answering("episode", 2, mode)
    env.reset()
    play(env, 3)
    step = env.step(np.eye(2, dtype=np.float32))
    assert [(episode.length, episode.ret) for episode in step.episodes] == [(4, 1.0), (4, 1.0)]
    env.close()


class Saying(gym.Env[Any, Any]):
    """Answers what it is told to, where the space is Discrete(2)."""

    observation_space, action_space = spaces.Discrete(2), spaces.Discrete(2)

    def __init__(self, reset: Any = (0, {}), step: Any = (0.0, False, False)) -> None:
        self._reset, self._step = reset, step

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return self._reset

    def step(self, action: Any) -> Any:
        return 0, *self._step, {}


@pytest.mark.parametrize("reward", [1, True, np.float16(1), np.int8(1), np.ones(1), np.ones(()), Decimal(1)])
def test_rewards_of_every_type_are_summed_as_floats(reward: Any) -> None:
    env = Answers(Saying(step=(reward, False, False)))
    env.reset()
    for _ in range(3000):  # float16 ends at 2048
        assert type(env.step(0)[1]) is float
    assert env.ret == 3000.0


@pytest.mark.parametrize("reward", [None, "1", [1.0], {}, 1j, np.ones(2), 10**400])
def test_a_reward_that_is_no_number(reward: Any) -> None:
    with pytest.raises(WrongAnswer, match=r"^step\(\) returned the reward .{,80}, a finite number is accepted$"):
        Answers(Saying(step=(reward, False, False))).step(0)


@pytest.mark.parametrize("flag", [True, np.True_, 1, 1.0, np.array([True]), np.array(1)])
def test_ends_of_every_type(flag: Any) -> None:
    assert Answers(Saying(step=(0.0, flag, None))).step(0)[2:4] == (True, False)


@pytest.mark.parametrize("flag", ["False", 2, float("nan"), np.array([True, False]), [], {}])
def test_an_end_that_is_neither_true_nor_false(flag: Any) -> None:
    with pytest.raises(WrongAnswer, match=r"^step\(\) returned terminated = .*, a bool is accepted$"):
        Answers(Saying(step=(0.0, flag, False))).step(0)
    with pytest.raises(WrongAnswer, match=r"^step\(\) returned truncated = .*, a bool is accepted$"):
        Answers(Saying(step=(0.0, False, flag))).step(0)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((0, None), "an info of type NoneType, no (observation, dict)"),
        (None, "NoneType, no (observation, info)"),
        ((0, {}, {}), "3 values, no (observation, info)"),
        (1, "int, no (observation, info): this environment speaks the old Gym API; accepted: that of gymnasium"),
    ],
)
def test_only_a_bare_observation_is_of_the_old_interface(answer: Any, said: str) -> None:
    with pytest.raises(WrongAnswer) as caught:
        Answers(Saying(reset=answer)).reset()
    assert str(caught.value) == f"reset() returned {said}"


def test_a_reset_without_seed_or_options() -> None:
    class Old(Saying):
        def reset(self) -> Any:  # type: ignore[override]
            return 0

    with pytest.raises(WrongAnswer, match=r"argument 'seed'; reset\(self, \*, seed=None, options=None\) is accepted"):
        Answers(Old()).reset()


@pytest.mark.parametrize("name", ["observation_space", "action_space"])
def test_an_environment_without_a_space(name: str) -> None:
    with pytest.raises(UnsupportedSpace, match=f"its {name} is None; one of gymnasium.spaces is accepted"):
        Answers(type("Spaceless", (Saying,), {name: None})())
