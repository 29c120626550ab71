"""worldmodel.tune: runs as a user starts them, what they leave behind, and how they go on."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worldmodel.envs.circuits.qaoa_angles import TuningConfig

from hybrid_opt.circuits.schedules.learned import TuningPolicy, learned
from hybrid_opt.circuits.schedules.schedule import SCHEDULES
from hybrid_opt.problem.qubo import Qubo
from tests.worldmodel.train.runs import ENVIRONMENT, PATIENCE, TINY
from worldmodel.cli.command import command
from worldmodel.tune.episodes import play

SMALL = [
    *("device=cpu", "threads=1", "eval.every=0", "eval.final_episodes=20", "agent.hidden=[16]", "log.every=200"),
    *("env.kwargs.sizes=[4,6]", "agent.landscape=20"),
]
QUICK = {"ppo": ["agent.streams=16"], "sac": ["agent.options.learning_starts=64", "agent.options.buffer_size=2000"]}


def tune(*words: object) -> int:
    return command("tune", "worldmodel.tune.run:run", [*SMALL, *map(str, words)])


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["ppo", "sac"])
def test_a_run_leaves_what_every_run_leaves_and_a_policy(
    agent: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"agent={agent}", *QUICK[agent], f"logdir={tmp_path}"]
    assert tune(*words, "steps=640") == 0
    assert (tmp_path / "config.yaml").exists() and list(tmp_path.glob("events.out.tfevents.*"))
    policy = TuningPolicy.load(tmp_path / "policy.npz")
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert evaluation["finished"] == policy.about["evaluations"] == 640
    assert policy.landscape is not None and policy.about["landscape"] == 20 * 210
    played, ratios = play(policy, TuningConfig(sizes=(4, 6)), 20)
    assert [episode.ret for episode in played] == pytest.approx(evaluation["returns"], abs=1e-4)
    assert rows(tmp_path)[-1]["eval/ratio"] == pytest.approx(float(np.median(ratios)), abs=1e-5)
    assert tune(*words, "steps=640") == 0
    assert "finished" in capsys.readouterr().out
    assert tune(*words, "steps=1280") == 0  # goes on
    assert "continuing at step 640" in capsys.readouterr().out
    assert [row["step"] for row in rows(tmp_path)] == sorted(row["step"] for row in rows(tmp_path))
    assert TuningPolicy.load(tmp_path / "policy.npz").about["evaluations"] == 1280
    gammas, _ = learned(tmp_path / "policy.npz")(Qubo(np.random.default_rng(0).normal(size=(6, 6))), 3)
    assert gammas.shape == (3,)
    assert tune(*words, "seed=1") == 2
    assert "seed was 0, is 1" in capsys.readouterr().err


def test_the_policy_file_does_what_the_model_does(tmp_path: Path) -> None:
    """The greedy actions of Stable-Baselines3's own networks, to 1e-5."""
    import torch

    from worldmodel.runs.folder import RunFolder
    from worldmodel.tune.config import TuneConfig
    from worldmodel.tune.sb3 import Tuner

    seen = {}

    def keep(config: TuneConfig) -> int:
        with RunFolder(tmp_path / config.agent.name) as folder:
            tuner = Tuner(config, torch.device("cpu"), folder)
            observation = tuner.view.reset()
            theirs, _ = tuner.model.predict(observation, deterministic=True)
            seen[config.agent.name] = theirs, tuner.policy().act(observation)
            tuner.close()
        return 0

    from worldmodel.tune import run as tuning

    original, tuning.run = tuning.run, keep  # type: ignore[assignment]
    try:
        for agent in ("ppo", "sac"):
            assert tune(f"agent={agent}", *QUICK[agent]) == 0
    finally:
        tuning.run = original
    for theirs, ours in seen.values():
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_saving_a_step_again_keeps_what_was_saved_until_the_new_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from worldmodel.runs.folder import RunFolder
    from worldmodel.runs.metrics import MetricsWriter
    from worldmodel.tune import run as tuning
    from worldmodel.tune import sb3
    from worldmodel.tune.config import TuneConfig

    def save_twice(config: TuneConfig) -> int:
        with RunFolder(tmp_path / "run") as folder, MetricsWriter(folder.path) as writer:
            tuner = sb3.Tuner(config, torch.device("cpu"), folder)
            tuner.save(writer)
            before = [path.name for path in tuner._found()]
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(sb3, "save_state", interrupted)
                tuner.save(writer)
            assert [path.name for path in tuner._found()] == before and tuner.find()["step"] == 0
            old = tuner._found()[0].rename(folder.path / "checkpoints" / "step-000000000000")  # as it once was named
            assert tuner._found() == [old] and tuner.find()["step"] == 0
            tuner.save(writer)
            assert len(tuner._found()) == 2
            tuner.close()
        return 0

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "run", save_twice)
    assert tune("agent=ppo", *QUICK["ppo"]) == 0


@pytest.mark.slow
def test_ppo_learns_to_beat_the_transferred_angles(tmp_path: Path) -> None:
    """The first guess alone: the mean energy over new problems, larger than those of the training."""
    assert tune("agent=ppo", "steps=12000", f"logdir={tmp_path}") == 0
    policy = learned(tmp_path / "policy.npz")
    from hybrid_opt.simulator.qaoa import QaoaSimulator

    rng, gains = np.random.default_rng(0), []
    for _ in range(30):
        j = np.triu(rng.normal(size=(8, 8)), 1)
        qubo = Qubo.from_ising(np.zeros(8), j)
        simulator = QaoaSimulator(qubo)
        ours, theirs = (simulator.value(*schedule(qubo, 3))[0] for schedule in (policy, SCHEDULES["transferred"]))
        gains.append((theirs - ours) / simulator.std[0])
    assert np.mean(gains) > 3 * np.std(gains) / 30**0.5


@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on(tmp_path: Path) -> None:
    words = [*SMALL, *QUICK["ppo"], "agent=ppo", f"logdir={tmp_path}", "steps=1000000", "log.every=320"]
    process = subprocess.Popen([sys.executable, "-m", "worldmodel.tune", *words], env=ENVIRONMENT, stderr=-1, text=True)
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "metrics.jsonl").exists() or len(rows(tmp_path)) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "the same command continues" in error
    step = int(error.split("step ")[1].split(";")[0])
    assert tune(*QUICK["ppo"], "agent=ppo", f"logdir={tmp_path}", f"steps={step + 320}", "log.every=320") == 0
    assert TuningPolicy.load(tmp_path / "policy.npz").about["evaluations"] >= step + 320


def test_the_world_model_is_distilled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for word in TINY if not word.startswith(("eval.", "log."))]
    code = tune(
        *words, "agent=worldmodel", "agent.episodes=16", "agent.streams=8", "steps=200", "eval.final_episodes=4",
        f"logdir={tmp_path}",
    )  # fmt: skip
    assert code == 0
    policy = TuningPolicy.load(tmp_path / "policy.npz")
    assert policy.about["agent"] == "worldmodel" and policy.about["distillation"] >= 160
    assert "mean squared error" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["env=cartpole"], "env.id=CartPole-v1: CircuitTuning-v0 is accepted"),
        (["env.kwargs.layers=9"], "layers"),
        (["agent=dqn"], "agent=dqn"),
        (["eval.environments=shared"], "eval.environments=shared: own is accepted with agent=ppo"),
        (["eval.final_episodes=0"], "eval.final_episodes=0: a positive number is accepted"),
        (["agent.options.colour=1"], "colour"),
        (["agent.hidden=[]"], "agent.hidden"),
        (["env.kwargs.file=none.npz", "env.kwargs.families=[file]"], "none.npz"),
    ],
)
def test_wrong_words_are_answered_in_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(*words, f"logdir={tmp_path / 'run'}") == 2
    line = capsys.readouterr().err.strip()
    assert said in line and "\n" not in line
    assert not (tmp_path / "run").exists()
