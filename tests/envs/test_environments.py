"""Environments: records, episode ends, repeats, limits, seeds."""

import random
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
import torch
from worldmodel.envs.environments import episode_seed

from tests.envs import custom
from worldmodel.envs import EnvConfig, EnvironmentRefused, Environments, Records, Step, UnsupportedSpace

COUNTING = "tests.envs.custom:Counting-v0"


def config(env_id: str = COUNTING, **options: Any) -> EnvConfig:
    return EnvConfig(id=env_id, **options)


def random_actions(env: Environments, steps: int, seed: int = 0) -> list[npt.NDArray[np.float32]]:
    """Action vectors [E, width] for some steps."""
    rng = np.random.default_rng(seed)
    if env.action_spec.kind == "continuous":
        return list(rng.uniform(-1, 1, (steps, env.num, env.action_spec.width)).astype(np.float32))
    parts = [np.eye(n, dtype=np.float32)[rng.integers(0, n, (steps, env.num))] for n in env.action_spec.sizes]
    return list(np.concatenate(parts, axis=-1))


def play(env: Environments, steps: int, seed: int = 0) -> list[Step]:
    return [env.step(actions) for actions in random_actions(env, steps, seed)]


def flat(records: Records) -> list[Any]:
    """Everything in some records, to the bit."""
    parts: list[npt.NDArray[Any]] = [records.stream, records.reward, records.is_first, records.terminated]
    parts += [records.truncated, *records.observation.values()]
    return [(part.dtype.str, part.shape, part.tobytes()) for part in parts]


def flat_step(step: Step) -> list[Any]:
    return [*flat(step.current), *flat(step.ended), *step.episodes]


def test_records_of_a_terminated_episode() -> None:
    env = Environments(config(kwargs={"terminate_at": 3}), num=2, seed=0)
    first = env.reset()
    assert first.is_first.all()
    assert first.stream.tolist() == [0, 1]
    assert first.observation["observation"][:, :2].tolist() == [[0, -1], [0, -1]]
    steps = play(env, 4)
    for t, step in enumerate(steps[:2], start=1):
        assert step.current.observation["observation"][:, 0].tolist() == [t, t]
        assert step.current.reward.tolist() == [2 ** (t - 1)] * 2
        assert len(step.ended) == 0
        assert not step.episodes
        assert not step.current.is_first.any()
    last = steps[2]
    assert last.ended.stream.tolist() == [0, 1]
    assert last.ended.terminated.all()
    assert not last.ended.truncated.any()
    assert not last.ended.is_first.any()
    assert last.ended.reward.tolist() == [4, 4]
    assert last.ended.observation["observation"][:, 0].tolist() == [3, 3]
    assert last.current.is_first.all()
    assert last.current.reward.tolist() == [0, 0]
    assert not last.current.terminated.any()
    assert last.current.observation["observation"][:, 0].tolist() == [0, 0]
    assert [(e.stream, e.length, e.ret) for e in last.episodes] == [(0, 3, 7.0), (1, 3, 7.0)]
    assert not steps[3].current.is_first.any()


def test_truncation_is_kept_apart_from_termination() -> None:
    env = Environments(config(kwargs={"truncate_at": 2}), num=1, seed=0)
    env.reset()
    ended = play(env, 2)[-1].ended
    assert ended.truncated.tolist() == [True]
    assert ended.terminated.tolist() == [False]


def test_the_time_limit_truncates() -> None:
    env = Environments(config(time_limit=5), num=1, seed=0)
    env.reset()
    steps = play(env, 5)
    assert [len(step.ended) for step in steps] == [0, 0, 0, 0, 1]
    assert steps[-1].ended.truncated.all()
    assert not steps[-1].ended.terminated.any()


@pytest.mark.parametrize(
    ("options", "length", "actions"),
    [
        ({"kwargs": {"terminate_at": 7}}, 7, 3),
        ({"time_limit": 5}, 5, 2),
        ({"kwargs": {"terminate_at": 6}}, 6, 2),
    ],
)
def test_repeated_actions_sum_rewards_and_stop_with_the_episode(
    options: dict[str, Any], length: int, actions: int
) -> None:
    env = Environments(config(action_repeat=3, **options), num=1, seed=0)
    assert env.action_repeat == 3
    env.reset()
    steps = play(env, actions)
    assert steps[0].current.reward.tolist() == [7]
    assert steps[0].current.observation["observation"][0, 0] == 3
    (episode,) = steps[-1].episodes
    assert (episode.length, episode.ret) == (length, 2.0**length - 1)
    assert steps[-1].ended.reward.tolist() == [2.0**length - 2.0 ** (3 * (actions - 1))]


def test_evaluation_is_capped_in_environment_steps() -> None:
    capped = config(eval_time_limit=6, action_repeat=2)
    evaluation = Environments(capped, num=1, seed=0, evaluation=True)
    evaluation.reset()
    last = play(evaluation, 3)[-1]
    assert last.episodes[0].length == 6
    assert last.ended.truncated.all()
    training = Environments(capped, num=1, seed=0)
    training.reset()
    assert not any(step.episodes for step in play(training, 10))


def test_streams_end_on_their_own() -> None:
    env = Environments(config("CartPole-v1"), num=3, seed=1)
    env.reset()
    seen = {0: 0, 1: 0, 2: 0}
    reference = [gym.make("CartPole-v1") for _ in range(3)]
    expected = [r.reset(seed=episode_seed(1, False, s, 0))[0] for s, r in enumerate(reference)]
    returns = [0.0] * 3
    for actions in random_actions(env, 120):
        step = env.step(actions)
        ended = {int(s): i for i, s in enumerate(step.ended.stream)}
        for stream, (raw, vector) in enumerate(zip(reference, actions, strict=True)):
            observation, reward, terminated, truncated, _ = raw.step(int(vector.argmax()))
            returns[stream] += float(reward)
            if terminated or truncated:
                row = ended.pop(stream)
                assert np.array_equal(step.ended.observation["observation"][row], observation)
                assert bool(step.ended.terminated[row]) == terminated
                assert next(e for e in step.episodes if e.stream == stream).ret == returns[stream]
                returns[stream] = 0.0
                seen[stream] += 1
                observation, _ = raw.reset(seed=episode_seed(1, False, stream, seen[stream]))
                assert step.current.is_first[stream]
            expected[stream] = observation
        assert not ended
        assert np.array_equal(step.current.observation["observation"], np.stack(expected))
    assert min(seen.values()) >= 2


def test_records_do_not_change_afterwards() -> None:
    env = Environments(config("CartPole-v1"), num=2, seed=0)
    records = [env.reset()] + [step.current for step in play(env, 30)]
    again = Environments(config("CartPole-v1"), num=2, seed=0)
    for record, fresh in zip(records, [again.reset()] + [step.current for step in play(again, 30)], strict=True):
        assert flat(record) == flat(fresh)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "MiniGrid-DoorKey-5x5-v0"])
def test_workers_bring_the_same_records_to_the_bit(env_id: str) -> None:
    if env_id.startswith("MiniGrid"):
        pytest.importorskip("minigrid")
    runs = []
    for mode in ("sync", "async"):
        with warnings.catch_warnings(action="ignore"):
            env = Environments(config(env_id, vectorization=mode, time_limit=15, action_repeat=2), num=2, seed=5)
        runs.append([flat(env.reset())] + [flat_step(step) for step in play(env, 40)])
        env.close()
    assert runs[0] == runs[1]
    assert any(len(step) > 12 for step in runs[0])  # episodes ended


def test_seeds() -> None:
    first = Environments(config(), num=2, seed=3)
    start = first.reset().observation["observation"][:, 2]
    assert start[0] != start[1]
    play(first, 3)
    assert np.array_equal(first.reset().observation["observation"][:, 2], start)
    other = Environments(config(), num=2, seed=4).reset().observation["observation"][:, 2]
    assert not set(start) & set(other)


def test_seeds_of_training_and_evaluation_are_disjoint() -> None:
    numbers = [(seed, stream, episode) for seed in range(8) for stream in range(8) for episode in range(64)]
    training = {episode_seed(seed, False, *rest) for seed, *rest in numbers}
    evaluation = {episode_seed(seed, True, *rest) for seed, *rest in numbers}
    assert len(training) == len(evaluation) == len(numbers)
    assert max(training) < 2**30 <= min(evaluation)
    assert max(evaluation) < 2**31


def test_notices_come_once() -> None:
    nested = config("tests.envs.custom:Sampled-v0", kwargs={"observation": "nested"})
    for mode in ("sync", "async"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            env = Environments(config(nested.id, kwargs=nested.kwargs, vectorization=mode), num=3, seed=0)
            env.reset()
            play(env, 3)
            env.close()
            Environments(config(nested.id, kwargs=nested.kwargs), num=1, seed=0, evaluation=True, beside=env).close()
        messages = [str(w.message) for w in caught if "Sampled" in str(w.message)]
        assert len(messages) == 2
        assert "deep/label, note" in messages[0]
        assert "20 x 24" in messages[1]


@pytest.mark.parametrize("action", ["box", "integers", "multidiscrete", "multibinary", "discrete"])
def test_actions_reach_the_environment(action: str) -> None:
    env = Environments(config("tests.envs.custom:Sampled-v0", kwargs={"action": action}), num=2, seed=0)
    env.reset()
    play(env, 20)  # the environment checks them


@pytest.mark.parametrize(
    "kwargs", [{"observation": "graph"}, {"observation": "sequence"}, {"action": "dict"}, {"action": "unbounded"}]
)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_unsupported_spaces_name_the_environment(kwargs: dict[str, str], mode: str) -> None:
    with pytest.raises(UnsupportedSpace, match=r"^env\.id=tests\.envs\.custom:Sampled-v0: .*space"):
        Environments(config("tests.envs.custom:Sampled-v0", kwargs=kwargs, vectorization=mode), num=2, seed=0)


def test_an_environment_of_the_main_module_works_in_workers() -> None:
    local: Any = custom.Counting
    gym.register("Local-v0", local)
    env = Environments(config("Local-v0", vectorization="async"), num=2, seed=0)
    env.reset()
    assert play(env, 2)[-1].current.reward.tolist() == [2, 2]
    env.close()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_frames(mode: str) -> None:
    pytest.importorskip("pygame")
    env = Environments(config("CartPole-v1", vectorization=mode), num=2, seed=0, evaluation=True, render=True)
    env.reset()
    frames = env.render()
    assert len(frames) == 2
    assert frames[0].dtype == np.uint8
    assert frames[0].shape == (400, 600, 3)
    env.close()


def test_an_environment_without_frames_says_so() -> None:
    with pytest.raises(EnvironmentRefused, match="rgb_array") as caught:
        Environments(config(), num=1, seed=0, render=True)
    assert caught.value.exit_code == 2


def test_atari_preprocessing_is_for_atari() -> None:
    with pytest.raises(EnvironmentRefused, match=r"env\.atari=true"):
        Environments(config(atari=True), num=1, seed=0)


def test_global_random_numbers_differ_between_workers_and_episodes_and_repeat() -> None:
    """Workers are forked with NumPy imported: unseeded, all would throw the same dice in every run and episode."""

    def thrown(seed: int) -> list[list[float]]:
        env = Environments(
            config("tests.envs.custom:Dice-v0", kwargs={"terminate_at": 5}, vectorization="async"), 2, seed
        )
        env.reset()
        returns = [[episode.ret for episode in step.episodes] for step in play(env, 40) if step.episodes]
        env.close()
        return returns

    first = thrown(0)
    assert len(first) == 8 and any(one != other for one, other in first)
    assert all(len({pair[stream] for pair in first}) > 1 for stream in (0, 1))
    assert thrown(0) == first and thrown(1) != first
    here = dice(0)  # the same in this process
    assert [[episode.ret for episode in step.episodes] for step in play(here, 40) if step.episodes] == first


def dice(seed: int, **kwargs: bool) -> Environments:
    """Repeatable ones in this process, whose own random states stand anywhere."""
    random.seed()
    np.random.seed()
    options = config("tests.envs.custom:Dice-v0", kwargs={"terminate_at": 5, **kwargs}, vectorization="sync")
    env = Environments(options, 2, seed, repeatable=True)
    env.reset()
    return env


def test_global_random_numbers_repeat_in_this_process_and_are_those_of_the_environments_alone() -> None:
    """Also after continuing, and whatever is drawn beside them."""

    def outside() -> tuple[object, ...]:
        return random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()

    env = dice(0, torch=True)
    before = outside()
    rewards = [step.current.reward.tolist() for step in play(env, 13)]
    assert outside() == before
    state = env.state_dict()
    rest = [flat_step(step) for step in play(env, 20)]
    again = dice(0, torch=True)
    for reward in rewards:
        random.random(), np.random.random(), torch.rand(())
        assert play(again, 1)[-1].current.reward.tolist() == reward
    continued = dice(0, torch=True)
    assert continued.load_state_dict(state) == []
    before = outside()
    assert [flat_step(step) for step in play(continued, 20)] == rest
    assert outside() == before
