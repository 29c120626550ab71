"""Answers that are not what the environment declares: one line, before anything casts, resizes or broadcasts them."""

import numpy as np
import pytest

from envs import EnvironmentFault, Environments
from tests.envs.test_environments import config, play

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


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_bounds_hold_for_the_first_observation_and_are_told_once_later(mode: str) -> None:
    text = r"observation 'observation' has value 1.5, its space declares -1.0 to 1.0"
    env = answering("range", 2, mode)
    with pytest.raises(EnvironmentFault, match=text):
        env.reset()
    env.close()
    env = answering("range", 2, mode, since=2)
    env.reset()
    with pytest.warns(UserWarning, match=text) as told:
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
