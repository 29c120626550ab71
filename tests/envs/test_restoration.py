"""Running episodes are brought back: reset with their seed, actions replayed, last observation compared."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from worldmodel.envs.action_log import ActionLog
from worldmodel.envs.errors import EnvironmentRefused

from tests.envs.test_environments import config, flat, flat_step, random_actions
from worldmodel.envs import EnvConfig, Environments


def stored(state: dict[str, Any]) -> dict[str, Any]:
    """A state as it comes out of a file that may hold tensors and Python scalars only."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def continues_as_if_never_stopped(settings: EnvConfig, num: int, before: int, after: int) -> None:
    env = Environments(settings, num, seed=2)
    env.reset()
    actions = random_actions(env, before + after)
    for action in actions[:before]:
        env.step(action)
    state = stored(env.state_dict())
    expected = [flat(env.current)] + [flat_step(env.step(action)) for action in actions[before:]]
    env.close()
    again = Environments(settings, num, seed=2)
    assert again.load_state_dict(state) == []
    assert [flat(again.current)] + [flat_step(again.step(action)) for action in actions[before:]] == expected
    again.close()


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("before", [0, 1, 37, 150])
def test_cartpole(mode: str, before: int) -> None:
    continues_as_if_never_stopped(config("CartPole-v1", vectorization=mode), 3, before, 60)


@pytest.mark.parametrize(
    "options",
    [
        {"env_id": "Pendulum-v1", "time_limit": 45},
        {"env_id": "FrozenLake-v1"},
        {"env_id": "Blackjack-v1"},
        {"env_id": "tests.envs.custom:Counting-v0", "action_repeat": 4, "time_limit": 30},
        {"env_id": "tests.envs.custom:Sampled-v0", "kwargs": {"observation": "nested", "action": "multidiscrete"}},
        {"env_id": "tests.envs.custom:Sampled-v0", "kwargs": {"observation": "picture", "action": "box"}},
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_other_environments(options: dict[str, Any]) -> None:
    continues_as_if_never_stopped(config(**options), 2, 33, 20)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("module", "options", "before"),
    [
        ("minigrid", {"env_id": "MiniGrid-DoorKey-5x5-v0", "time_limit": 12}, 20),
        ("Box2D", {"env_id": "LunarLander-v3"}, 150),
        ("Box2D", {"env_id": "BipedalWalker-v3"}, 150),
        ("mujoco", {"env_id": "Hopper-v5"}, 60),
        ("dm_control", {"env_id": "dm_control/reacher-easy-v0", "time_limit": 20}, 30),
        ("ale_py", {"env_id": "ALE/Pong-v5", "atari": True, "action_repeat": 4, "time_limit": 60}, 20),
    ],
)
def test_environments_of_extras(module: str, options: dict[str, Any], before: int) -> None:
    pytest.importorskip(module)
    continues_as_if_never_stopped(config(**options), 1, before, 10)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_environment_that_ignores_its_seed_starts_the_next_episode(mode: str) -> None:
    settings = config("tests.envs.custom:Unseeded-v0", vectorization=mode)
    env = Environments(settings, 2, seed=0)
    env.reset()
    for action in random_actions(env, 5):
        env.step(action)
    state = stored(env.state_dict())
    env.close()
    again = Environments(settings, 2, seed=0)
    assert again.load_state_dict(state) == [0, 1]
    assert again.current.is_first.all()
    assert again.current.reward.tolist() == [0, 0]
    assert again.current.observation["observation"][:, 0].tolist() == [0, 0]
    assert again.state_dict()["episode"].tolist() == [1, 1]
    assert all(len(part) == 0 for part in again.state_dict()["actions"])
    again.close()


def test_only_the_stream_that_differs_starts_anew() -> None:
    env = Environments(config(), 3, seed=0)
    env.reset()
    for action in random_actions(env, 4):
        env.step(action)
    state = env.state_dict()
    state["observation"]["observation"][1, 2] += 1e-6
    again = Environments(config(), 3, seed=0)
    assert again.load_state_dict(state) == [1]
    assert again.current.is_first.tolist() == [False, True, False]
    assert again.current.observation["observation"][:, 0].tolist() == [4, 0, 4]
    assert again.current.reward.tolist() == [8, 0, 8]
    fresh = Environments(config(), 3, seed=0)
    fresh.reset()
    assert again.current.observation["observation"][1, 2] != fresh.current.observation["observation"][1, 2]
    assert again.load_state_dict(again.state_dict()) == []


def test_an_episode_that_ends_while_it_is_replayed_is_over() -> None:
    env = Environments(config(), 2, seed=0)
    env.reset()
    for action in random_actions(env, 4):
        env.step(action)
    shorter = Environments(config(time_limit=4), 2, seed=0)
    assert shorter.load_state_dict(env.state_dict()) == [0, 1]


def test_statistics_of_an_episode_survive() -> None:
    settings = config(kwargs={"terminate_at": 6})
    env = Environments(settings, 1, seed=0)
    env.reset()
    actions = random_actions(env, 6)
    for action in actions[:4]:
        env.step(action)
    again = Environments(settings, 1, seed=0)
    again.load_state_dict(env.state_dict())
    again.step(actions[4])
    (episode,) = again.step(actions[5]).episodes
    assert (episode.length, episode.ret) == (6, 63.0)


def test_a_state_of_other_streams_is_refused() -> None:
    env = Environments(config(), 2, seed=0)
    env.reset()
    with pytest.raises(ValueError, match="2 streams"):
        Environments(config(), 3, seed=0).load_state_dict(env.state_dict())


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            {"observation": "box"},
            {},
            "observations are observation int32 (1,) of 3 classes, those of the checkpoint are observation f",
        ),
        ({"observation": "box"}, {"observation": "integers"}, "float32 (3,), those of the checkpoint are observation "),
        (
            {},
            {"action": "multibinary"},
            "actions are 4 choices of 2, 2, 2, 2 classes, those of the checkpoint are 1 choices of 3 classes; ",
        ),
        (
            {"observation": "one two"},
            {"observation": "two one"},
            "int32 (2,) of 2, 1 classes, those of the checkpoint are observation int32 (2,) of 1, 2 classes; ",
        ),
        (
            {"action": "one two"},
            {"action": "two one"},
            "actions are 2 choices of 2, 1 classes, those of the checkpoint are 2 choices of 1, 2 classes; ",
        ),
        (
            {"action": "multibinary"},
            {"action": "box"},
            "its actions are 4 values, those of the checkpoint are 4 choices of 2, 2, 2, 2 classes; ",
        ),
    ],
)
def test_a_state_of_other_spaces_is_refused(before: dict[str, str], after: dict[str, str], said: str) -> None:
    env = Environments(config("tests.envs.custom:Sampled-v0", kwargs=before), 1, seed=0)
    env.reset()
    again = Environments(config("tests.envs.custom:Sampled-v0", kwargs=after), 1, seed=0)
    with pytest.raises(EnvironmentRefused) as caught:
        again.load_state_dict(env.state_dict())
    assert said in str(caught.value)
    if "2, 1 classes" in said:  # which earlier code did not save
        again.load_state_dict({key: part for key, part in env.state_dict().items() if key not in ("classes", "sizes")})


def test_the_log_against_lists() -> None:
    rng = np.random.default_rng(0)
    log, lists = ActionLog(3, 2, np.dtype(np.int32)), [[], [], []]  # type: ignore[var-annotated]
    for t in range(2000):
        chosen = rng.integers(0, 100, (3, 2))
        log.append(chosen)
        done = rng.random(3) < [0.1, 0.01, 0.001]
        for stream in range(3):
            lists[stream] = [] if done[stream] else [*lists[stream], chosen[stream].tolist()]
        log.clear(done)
        if t == 1000:
            copy = ActionLog(3, 2, np.dtype(np.int32))
            copy.load([log.actions(stream) for stream in range(3)])
            log = copy
        assert [log.actions(stream).tolist() for stream in range(3)] == lists


def test_the_log_does_not_grow_without_need() -> None:
    log = ActionLog(2, 1, np.dtype(np.uint8))
    for _ in range(1000):
        for _ in range(50):
            log.append(np.zeros((2, 1)))
        log.clear(np.ones(2, np.bool_))
    assert len(log._rows) <= 128


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_streams_that_are_lent_play_the_episodes_of_evaluations_and_go_on_as_before(mode: str) -> None:
    settings = config("tests.envs.custom:Counting-v0", vectorization=mode, kwargs={"truncate_at": 9}, eval_time_limit=6)
    env, alone = (Environments(settings, 2, seed=2) for _ in range(2))
    beside = Environments(settings, 2, seed=5, evaluation=True)
    actions = random_actions(env, 30)
    for one in (env, alone):
        one.reset()
        for action in actions[:7]:
            one.step(action)
    guest = env.lent(5)
    assert flat(guest.reset()) == flat(beside.reset())
    for action in actions[:15]:
        played = guest.step(action)
        assert flat_step(played) == flat_step(beside.step(action))
        assert all(episode.length == 6 for episode in played.episodes)
    assert env.take_back() == [] and flat(env.current) == flat(alone.current)
    for action in actions[7:]:
        step = env.step(action)
        assert flat_step(step) == flat_step(alone.step(action))
        assert all(episode.length == 9 for episode in step.episodes)
    for one in (env, alone, beside):
        one.close()


def test_of_what_is_lent_only_running_episodes_can_be_lost() -> None:
    """An environment that ignores its seeds: what has not begun is no loss, what has is cut."""
    env = Environments(config("tests.envs.custom:Unseeded-v0"), 1, seed=0)
    env.reset()
    env.lent(5).reset()
    assert env.take_back() == [] and env.current.is_first.all()
    env.step(random_actions(env, 1)[0])
    env.lent(5).reset()
    assert env.take_back() == [0] and env.current.is_first.all()
    env.close()
