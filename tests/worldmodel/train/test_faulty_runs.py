"""Faults that are not the user's: one line, exit code 1, a checkpoint that is whole, and a run that can go on."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.worldmodel import worlds
from tests.worldmodel.train.runs import (
    ENVIRONMENT,
    Starter,
    evaluate,
    full_disk,
    last_step,
    line_of,
    rows,
    timeless,
    train,
)
from worldmodel.envs import Episode
from worldmodel.runs.checkpoint import checkpoints
from worldmodel.runs.saved_state import load_state
from worldmodel.train.episodes import evaluate as episodes_of

FRAGILE = "env.id=tests.worldmodel.worlds:Fragile-v0"


def fragile(flag: Path, how: str, at: int = 10) -> tuple[str, str]:
    return FRAGILE, f"env.kwargs={{flag:{flag},how:{how},at:{at}}}"


def is_whole(folder: Path) -> None:
    """Nothing in the folder is half-written, and its checkpoints can be read."""
    assert [path for path in folder.rglob("*") if path.name.endswith(".tmp") or path.name == "incomplete"] == []
    assert all(isinstance(row["step"], int) for row in rows(folder))
    for path in checkpoints(folder / "checkpoints"):
        load_state(path / "state.pt")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "what"),
    [("wrong", "observation 'observation' is not finite (value nan)"), ("raise", "RuntimeError: the wheel fell off")],
)
def test_an_environment_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, what: str) -> None:
    """The run is saved as of before the step, and continues when the environment has recovered, as if nothing was."""
    flag = tmp_path / "flag"
    words = (*fragile(flag, how), "steps=70", "optimizer.final_rate=1")
    assert train(*words, f"logdir={tmp_path / 'whole'}") == 0
    run = tmp_path / "run"
    assert train(*words, f"logdir={run}", "steps=45") == 0
    flag.touch()
    capsys.readouterr()
    assert train(*words, f"logdir={run}") == 1
    line, log = line_of(capsys.readouterr().err), run / "error.log"
    if how == "raise":
        assert re.search(rf"\(at {re.escape(worlds.__file__)}:\d+ in step\); traceback in {re.escape(str(log))}$", line)
        assert 'raise RuntimeError("the wheel\\nfell off")' in log.read_text()
        line = line.partition(" (at")[0]
    assert line == f"tests.worldmodel.worlds:Fragile-v0, stream 0: {what}" and log.exists() == (how == "raise")
    is_whole(run)
    step = load_state(checkpoints(run / "checkpoints")[-1] / "state.pt")["step"]
    assert 45 <= step < 70
    flag.unlink()
    assert train(*words, f"logdir={run}") == 0
    assert f"continuing at step {step}" in capsys.readouterr().out
    assert timeless(run) == timeless(tmp_path / "whole")


def test_an_environment_whose_process_dies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flag, run = tmp_path / "flag", tmp_path / "run"
    words = (*fragile(flag, "exit"), "env.num=2", "env.vectorization=async", f"logdir={run}")
    flag.touch()
    assert train(*words, "steps=40") == 1
    line = line_of(capsys.readouterr().err)
    what = "the worker process ended with exit code 3"  # of both, in any order
    assert line in [f"tests.worldmodel.worlds:Fragile-v0, stream {stream}: {what}" for stream in range(2)]
    is_whole(run)
    flag.unlink()
    assert train(*words, "steps=40") == 0
    assert "continuing at step 18" in capsys.readouterr().out


def test_an_environment_that_fails_in_an_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flag, run = tmp_path / "flag", tmp_path / "run"
    flag.touch()
    words = (*fragile(flag, "raise", at=15), "env.time_limit=10", f"logdir={run}")
    assert train(*words, "steps=30") == 0  # time_limit: no step 15
    words = (*fragile(flag, "reset"), f"logdir={tmp_path / 'other'}", "eval.every=20", "eval.episodes=1", "steps=50")
    flag.unlink()
    with_flag = _after_steps(flag, 20)
    with with_flag:
        assert train(*words) == 1
    assert "RuntimeError: no episode today" in line_of(capsys.readouterr().err)
    is_whole(tmp_path / "other")
    flag.unlink()
    assert train(*words) == 0
    assert "continuing at step 2" in capsys.readouterr().out
    assert [row["step"] for row in rows(tmp_path / "other") if "eval/return" in row] == [20, 40, 50]


def test_an_environment_that_cannot_be_closed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is lost by it, in training and in evaluations: of each instance a line."""
    run, env = tmp_path / "run", "env.id=tests.envs.custom:Unclosed-v0"
    line = r"tests.envs.custom:Unclosed-v0, stream 0: close\(\) failed \(CustomError: number 5 is bad \(at .*\)\)$"
    with pytest.warns(UserWarning, match=line) as told:
        assert train(env, "env.time_limit=5", "steps=45", "eval.final_episodes=1", f"logdir={run}") == 0
        assert json.loads((run / "evaluation.json").read_text())["finished"] == 45
        assert evaluate(f"logdir={run}", "episodes=1") == 0
    assert len(told) == 4 and capsys.readouterr().err == ""  # training's two, that of loading, and that of evaluating


@contextmanager
def _after_steps(flag: Path, count: int) -> Iterator[None]:
    """Put the flag up when the environments have taken so many steps."""
    from tests.worldmodel.worlds import Fragile

    step, taken = Fragile.step, [0]

    def counting(self: Fragile, action: object) -> object:
        taken[0] += 1
        if taken[0] == count:
            flag.touch()
        return step(self, action)

    Fragile.step = counting  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Fragile.step = step  # type: ignore[method-assign]


def test_an_environment_that_fails_at_once_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    """But what it was; and the folder can be used."""
    words = (*fragile(flag, "reset"), "steps=40", f"logdir={tmp_path / 'new' / 'run'}")
    assert train(*words) == 1
    assert "stream 0: RuntimeError: no episode today (at" in line_of(capsys.readouterr().err)
    log = tmp_path / "new" / "run" / "error.log"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [flag, log]
    before = log.read_text()
    assert train(*words, "env.num=2", "env.vectorization=async") == 1
    assert log.read_text().startswith(before) and log.read_text().count('raise RuntimeError("no episode') == 2
    flag.unlink()
    assert train(*words, "eval.final_episodes=0") == 0


def test_an_episode_that_cannot_be_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new one begins there, which the user is told."""
    words = ("env.id=tests.envs.custom:Unseeded-v0", "env.kwargs={truncate_at:30}", f"logdir={tmp_path}")
    assert train(*words, "steps=45") == 0
    capsys.readouterr()
    assert train(*words, "steps=80") == 0
    out = capsys.readouterr().out
    assert "continuing at step 45\n" in out
    assert "the episodes of streams [0] could not be replayed to where they were: new ones begin there\n" in out
    lengths = [(row["step"], row["episode/length"]) for row in rows(tmp_path) if "episode/length" in row]
    assert lengths == [(30, 30), (75, 30)]


@pytest.mark.parametrize("words", [(), ("env=pendulum", "env.eval_time_limit=10")], ids=["discrete", "continuous"])
def test_training_that_diverges(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    """The last good checkpoint stays, and can be played and continued with another learning rate elsewhere."""
    words = (*words, "optimizer.lr=1e30", "optimizer.warmup=0", f"logdir={tmp_path / 'run'}")
    assert train(*words, "steps=40") == 0  # prefill: no update yet
    assert train(*words, "steps=400", "checkpoint.minutes=0.0001") == 1
    assert "finite" in line_of(capsys.readouterr().err)
    is_whole(tmp_path / "run")
    for path in checkpoints(tmp_path / "run" / "checkpoints"):
        agent = load_state(path / "state.pt")["agent"]
        assert all(value.isfinite().all() for value in agent.values())


def test_weights_that_are_not_finite_are_never_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def played(player: Any, *arguments: Any, **options: Any) -> list[Episode]:
        episodes = episodes_of(player, *arguments, **options)
        player.agent.actor_critic.critic.out.bias.data[0] = torch.nan  # which no action depends on
        return episodes

    monkeypatch.setattr("worldmodel.train.trainer.evaluate", played)
    assert train("steps=40", "eval.every=20", f"logdir={tmp_path / 'run'}") == 1
    assert line_of(capsys.readouterr().err) == "the weights are not finite; they are not saved"
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_rewards_beyond_all_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are finite as float32; what becomes of them is finite or is told."""
    flag = tmp_path / "flag"
    flag.touch()
    code = train(*fragile(flag, "huge"), "steps=100", f"logdir={tmp_path / 'run'}")
    assert code in (0, 1)
    if code:
        assert "finite" in line_of(capsys.readouterr().err)
    is_whole(tmp_path / "run")


@pytest.mark.parametrize("size", [100, 1500, 20_000, 200_000])
def test_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int) -> None:
    """At whichever file it happens; with more space the same command goes on."""
    run = tmp_path / "run"
    words = ("steps=50", "checkpoint.minutes=0.001", f"logdir={run}")
    with full_disk(size):
        assert train(*words) == 1
    assert "cannot be written: File too large" in line_of(capsys.readouterr().err)
    if (run / "metrics.jsonl").exists():
        is_whole(run)
    assert train(*words) == 0
    assert json.loads((run / "evaluation.json").read_text())["finished"] == 50


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of eight megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=False).returncode:
        pytest.skip("mounting is not permitted")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_a_disk_that_fills_up(disk: Path, forks: Starter, storage: str) -> None:
    words = ("steps=9000", "train_ratio=0.01", "checkpoint.minutes=0.001", "log.every=1", f"replay.storage={storage}")
    run = forks.run(disk / "run", *words)
    assert run.reach(60)
    with (disk / "others").open("wb", buffering=0) as others, pytest.raises(OSError, match="No space left"):
        while True:
            others.write(bytes(4096))
    code, _, err = run.finish()
    assert code == 1 and line_of(err).endswith("cannot be written: No space left on device")
    is_whole(disk / "run")
    step = last_step(disk / "run")
    (disk / "others").unlink()
    run = forks.run(disk / "run", *words)
    assert run.reach(step + 1)
    run.kill(signal.SIGTERM)
    assert run.finish()[0] == 130


def test_a_replay_on_a_disk_that_fills_up(disk: Path) -> None:
    """Writing into a memory map of a full disk would end the process without a word."""
    code = f"""
import numpy as np
from pathlib import Path
from quantum_sampler import make_selector
from worldmodel.replay.buffer import Replay
fields = {{"observation": ((1000,), np.float32), "action": ((1,), np.uint8)}}
selector = make_selector("uniform", 100_000, 0)
place = {{"steps": 50_000, "streams": 2, "window": 4, "stride": 1, "seed": 0, "directory": Path({str(disk)!r})}}
replay = Replay(fields, {{}}, selector, **place)
step = {{"observation": np.ones((2, 1000), np.float32), "action": np.ones((2, 1), np.uint8)}}
while True:
    replay.add(np.arange(2), step)
"""
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "WriteError" in done.stderr and "cannot be written: No space left on device" in done.stderr
