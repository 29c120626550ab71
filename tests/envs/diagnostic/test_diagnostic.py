"""The diagnostic environments: their laws, and that Gymnasium's checker has nothing to say."""

import itertools
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_sb3
from worldmodel.envs.diagnostic import AppearingObject, BlindCliffwalk, KeyDoor, NoisyTV, TMaze

from worldmodel.envs import EnvConfig, Environments

NAMES = ["BlindCliffwalk-v0", "AppearingObject-v0", "NoisyTV-v0", "TMaze-v0", "KeyDoor-v0"]


@pytest.mark.parametrize("name", NAMES)
def test_gymnasium_accepts_them(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # normal noise has no bounds, and nothing is drawn
        warnings.filterwarnings("ignore", message=".*(infinity|render).*")
        check_env(gym.make(name).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("name", ["TMaze-v0", "KeyDoor-v0"])
def test_stable_baselines3_accepts_the_tasks_of_memory(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_for_sb3(gym.make(name).unwrapped)


@pytest.mark.parametrize("name", NAMES)
def test_streams_come_back_to_where_they_were(name: str) -> None:
    config = EnvConfig(f"worldmodel.envs.diagnostic:{name}")
    one, other = (Environments(config, 2, seed=3) for _ in range(2))
    one.reset()
    width = one.action_spec.width
    for step in range(7):
        one.step(np.eye(width, dtype=np.float32)[[step % width, (step + 1) % width]])
    assert other.load_state_dict(one.state_dict()) == []


def test_one_sequence_of_actions_in_all_reaches_the_reward() -> None:
    env, paid = BlindCliffwalk(states=5), []
    for actions in itertools.product(range(2), repeat=5):
        env.reset(seed=0)
        total, done = 0.0, False
        for action in actions:
            if not done:
                _, reward, done, _, _ = env.step(action)
                total += reward
        paid.append(total)
    assert sorted(paid) == [0.0] * 31 + [1.0]


def test_the_object_cannot_be_found_before_it_appears() -> None:
    env = AppearingObject(cells=4, appears=6)
    for seed in range(20):
        seen, _ = env.reset(seed=seed)
        for step in range(1, 13):
            seen, reward, terminated, truncated, _ = env.step(2)
            assert seen[4:].sum() == (step >= 6) and reward == terminated
            assert not terminated or step >= 6
            if terminated or truncated:
                break
        assert terminated and step < 10  # on a ring of 4 it is met within 4 steps


def test_the_object_is_reached_in_time_only_by_the_shorter_way() -> None:
    env = AppearingObject(cells=8, appears=8, stays=4)
    one_way, shorter = [], []
    for seed in range(400):
        for found, steer in ((one_way, False), (shorter, True)):
            (seen, _), over = env.reset(seed=seed), False
            while not over:
                away = int(seen[8:].argmax() - seen[:8].argmax()) % 8
                seen, reward, terminated, truncated, _ = env.step(
                    (0 if not away else 2 if away <= 4 else 1) if steer else 2
                )
                over = terminated or truncated
            found.append(reward)
    assert np.mean(shorter) == 1.0 and np.mean(one_way) == pytest.approx(5 / 8, abs=0.1)  # 4 deviations


def test_the_television_shows_noise_only_when_watched() -> None:
    env = NoisyTV()
    env.reset(seed=1)
    pictures = np.array([env.step(2)[0][10:] for _ in range(49)])
    assert abs(pictures.mean()) < 0.2 and pictures.std() == pytest.approx(1.0, abs=0.1)
    assert env.step(0)[3] and not env.reset(seed=1)[0][10:].any()
    rewards = [env.step(1)[1:3] for _ in range(9)]
    assert rewards == [(0.0, False)] * 8 + [(1.0, True)]


@pytest.mark.parametrize("delay", [1, 10, 200])
def test_the_cue_of_the_maze_is_so_many_steps_back(delay: int) -> None:
    """Only a turn as the cue says pays, and nothing that is seen between them tells which."""
    env, cues, views = TMaze(delay=delay), set(), set()
    for seed in range(8):
        for turn in range(2):
            seen, _ = env.reset(seed=seed)
            cue = int(seen.argmax())
            steps = [env.step(0) for _ in range(delay)]
            assert not any(step[1] or step[2] for step in steps) and steps[-1][0].argmax() == 3
            _, reward, terminated, truncated, _ = env.step(turn)
            assert reward == float(turn == cue) and terminated and not truncated
            cues.add(cue)
            views.add(tuple(int(step[0].argmax()) for step in steps))
    assert cues == {0, 1} and len(views) == 1


def test_the_key_opens_its_door_whatever_was_seen_since() -> None:
    env = KeyDoor(delay=20, keys=3, apple=0.5)
    for seed in range(9):
        seen, _ = env.reset(seed=seed)
        key, shown, picked = int(seen.argmax()), [], 0.0
        for _ in range(21):
            seen, reward, *_ = env.step(1)
            picked += reward
            shown.append(int(seen.argmax()) - 3)
        assert seen.argmax() == 6 and picked == 0.5 * shown[:-1].count(1)
        _, reward, terminated, _, _ = env.step(seed % 3)
        assert reward == float(key == seed % 3) and terminated


@pytest.mark.parametrize(("kind", "wrong"), [(TMaze, {"delay": 0}), (KeyDoor, {"delay": 0}), (KeyDoor, {"keys": 1})])
def test_delays_that_are_none_are_refused(kind: type, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}.* accepted"):
        kind(**wrong)
