"""Model-free baselines: what Stable-Baselines3 sees of our environments, and whole runs."""

import json
import re
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from tests.worldmodel.train.runs import line_of, timeless
from worldmodel.baseline import run as model_free
from worldmodel.baseline.run import Vectorised
from worldmodel.cli.command import command
from worldmodel.envs import EnvConfig, Environments
from worldmodel.runs.evaluation import read_evaluation
from worldmodel.runs.folder import read_config
from worldmodel.runs.progress import Progress
from worldmodel.tune import sb3

WORDS = ["device=cpu", "threads=1", "env.time_limit=30", "eval.every=100", "eval.episodes=2", "eval.final_episodes=3"]


def baseline(folder: Path, *words: str) -> int:
    return command("baseline", "worldmodel.baseline.run:run", [*WORDS, f"logdir={folder}", *words])


class Parts(gym.Env[dict[str, object], np.ndarray]):
    """Several observations, several actions; an episode of four steps ends by itself, one of three is cut."""

    observation_space = spaces.Dict({"place": spaces.Discrete(3), "speed": spaces.Box(-1, 1, (2,))})
    action_space = spaces.MultiDiscrete([2, 3])

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[dict[str, object], dict[str, object]]:
        super().reset(seed=seed)
        self.taken: list[list[int]] = []
        return self.seen(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, object], float, bool, bool, dict[str, object]]:
        self.taken.append(np.asarray(action).tolist())
        over = len(self.taken) == 4 and self.taken[0][0] == 0
        cut = len(self.taken) == 3 and self.taken[0][0] == 1
        return self.seen(), float(10 * action[0] + action[1]), over, cut, {}

    def seen(self) -> dict[str, object]:
        return {"place": len(self.taken) % 3, "speed": np.full(2, len(self.taken) / 10, np.float32)}


gym.register("BaselineParts-v0", Parts)


def vectorised(name: str, num: int) -> Vectorised:
    return Vectorised(Environments(EnvConfig(name), num, seed=0))


@pytest.mark.slow
def test_spaces_steps_and_ends() -> None:
    env: VecEnv = vectorised("BaselineParts-v0", 2)
    assert env.action_space == spaces.MultiDiscrete([2, 3])
    assert env.observation_space == spaces.Dict(
        {"place": spaces.Box(0, 1, (3,), np.float32), "speed": spaces.Box(-np.inf, np.inf, (2,), np.float32)}
    )
    seen = env.reset()
    np.testing.assert_array_equal(seen["place"], [[1, 0, 0]] * 2)
    actions = np.array([[0, 2], [1, 1]])
    for step in range(1, 5):
        seen, rewards, dones, infos = env.step(actions)
        assert rewards.tolist() == [2.0, 11.0]
        assert dones.tolist() == [step == 4, step == 3]
        if step == 3:  # cut: what was seen last is told beside the start of the next episode
            assert infos[1]["TimeLimit.truncated"] is True
            np.testing.assert_allclose(infos[1]["terminal_observation"]["speed"], 0.3)
            np.testing.assert_allclose(seen["speed"], [[0.3] * 2, [0.0] * 2])
    assert infos[0]["TimeLimit.truncated"] is False


def test_continuous_actions_are_scaled_as_for_our_agent() -> None:
    """Of Pendulum, whose torque is in [-2, 2]: the reward tells the torque."""
    env = vectorised("Pendulum-v1", 1)
    assert env.action_space == spaces.Box(-1.0, 1.0, (1,), np.float32)
    (x, y, speed), pendulum = env.reset()[0], gym.make("Pendulum-v1").unwrapped
    _, rewards, _, _ = env.step(np.array([[0.5]], np.float32))
    assert rewards[0] == pytest.approx(-(np.arctan2(y, x) ** 2 + 0.1 * speed**2 + 0.001 * 1.0**2), rel=1e-3)
    assert pendulum.max_torque == 2.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "updates"),
    [
        (("algorithm=ppo", "env.num=2", "options={n_steps:32,batch_size:16,learning_rate:lin_1e-3}"), 30),
        (("algorithm=dqn", "options={learning_starts:50}"), 37),
    ],
)
def test_runs_are_ordinary_run_folders_and_repeat(tmp_path: Path, words: tuple[str, ...], updates: int) -> None:
    for name in ("one", "two"):
        assert baseline(tmp_path / name, "env=cartpole", "steps=200", "deterministic=true", *words) == 0
    assert timeless(tmp_path / "one") == timeless(tmp_path / "two")
    rows = [json.loads(line) for line in (tmp_path / "one/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "eval/return" in row] == [100, 200]
    assert rows[-1]["updates"] == updates
    evaluation, config = read_evaluation(tmp_path / "one"), read_config(tmp_path / "one")
    assert evaluation and evaluation["finished"] == 200 and len(evaluation["returns"]) == 3
    assert config["env"]["id"] == "CartPole-v1" and "size" not in config


def test_an_environment_that_counts_its_own_episodes(tmp_path: Path) -> None:
    """Its info["episode"] is its own affair; and its random numbers repeat."""
    words = ("algorithm=ppo", "steps=64", "options={n_steps: 32, batch_size: 32}", "deterministic=true")
    for name in ("one", "other"):
        np.random.seed()
        assert baseline(tmp_path / name, "env.id=tests.envs.custom:Counted-v0", *words) == 0
    assert timeless(tmp_path / "one") == timeless(tmp_path / "other")
    rows = [json.loads(line) for line in (tmp_path / "one" / "metrics.jsonl").read_text().splitlines()]
    assert {row["episode/length"] for row in rows if "episode/length" in row} == {5}


def test_a_finished_run_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["env=cartpole", "steps=40", "options={n_steps:16,batch_size:16}", "seconds=1000"]
    assert baseline(tmp_path / "x", *words) == 0
    before = (tmp_path / "x/metrics.jsonl").read_bytes()
    assert baseline(tmp_path / "x", *words) == 0
    assert "finished with return" in capsys.readouterr().out.splitlines()[-1]
    assert (tmp_path / "x/metrics.jsonl").read_bytes() == before
    assert baseline(tmp_path / "x", "env=cartpole", "steps=50") == 2
    assert "steps was 40, is 50" in line_of(capsys.readouterr().err)


def test_time_ends_a_run(tmp_path: Path) -> None:
    assert baseline(tmp_path / "x", "env=cartpole", "steps=1000000", "seconds=0.5", "eval.every=0") == 0
    evaluation = read_evaluation(tmp_path / "x")
    assert evaluation and 0 < evaluation["finished"] < 1_000_000


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("env=pendulum", "algorithm=dqn"), "dqn does not take them"),
        (("env=cartpole", "options={foo:1}"), "options={'foo': 1}: ppo does not take them"),
        (("env=cartpole", "eval.environments=shared"), "eval.environments=shared: own is accepted by baselines"),
        (("env=cartpole", "algorithm=a2c"), "algorithm=a2c: must be ppo, dqn or sac"),
    ],
)
def test_wrong_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], error: str
) -> None:
    assert baseline(tmp_path / "x", *words) == 2
    assert error in line_of(capsys.readouterr().err)


@pytest.mark.parametrize("command_line", ["baseline env=cartpole", "tune agent=ppo agent.streams=4 agent.landscape=0"])
def test_progress_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command_line: str
) -> None:
    for module in (model_free, sb3):
        monkeypatch.setattr(module, "Progress", partial(Progress, every=0.001))
    name, *words = command_line.split()
    given = (*words, "steps=128", "eval.every=0", "eval.final_episodes=1", "threads=1", f"logdir={tmp_path / 'x'}")
    assert (
        command(name, {"baseline": "worldmodel.baseline.run:run", "tune": "worldmodel.tune.run:run"}[name], given) == 0
    )
    assert re.search(r"^\d+/128 steps \(\d+ %\), .* steps/s, .* updates/s", capsys.readouterr().out, re.MULTILINE)
