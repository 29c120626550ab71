"""Whole comparisons: killed and continued, with arms that crash, and for a given time."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.worldmodel.compare.comparisons import WORDS, compare
from tests.worldmodel.train.runs import ENVIRONMENT, last_step, rows, train
from worldmodel.runs.evaluation import read_evaluation

SMALL = ["suite=smoke", "controls=false", "seeds=1", "suite.environments.cartpole.steps=120", WORDS]


def begin(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "worldmodel.compare", *SMALL, *words, "logdir=c"]
    return subprocess.Popen(line, cwd=folder, env=ENVIRONMENT, start_new_session=True, stdout=subprocess.DEVNULL)


def timeless(folder: Path) -> list[str]:
    """The reports without their times."""
    page, text = (folder / "c/report.html").read_text(), (folder / "c/report.md").read_text()
    assert '<section id="times">' in page and "\n## Times\n" in text
    page = re.sub(r'<section id="times">.*?</section>', "", page, flags=re.DOTALL)
    return [page, text[: text.index("\n## Times\n")], (folder / "c/results.json").read_text()]


@pytest.mark.slow
def test_a_comparison_that_was_killed_twice_reports_the_same(tmp_path: Path) -> None:
    words = ["deterministic=true", "arms=[classical,ppo]", "workers=2"]
    words.append("suite.environments.cartpole.arms.ppo=['options={n_steps:32,batch_size:32}']".replace("'", '"'))
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = begin(tmp_path / "whole", *words)
    assert whole.wait(300) == 0
    first = tmp_path / "killed/c/cartpole/classical/seed-0"
    second = tmp_path / "killed/c/cartpole/ppo/seed-0"
    for watched in (first, second):
        process = begin(tmp_path / "killed", *words)
        deadline = time.monotonic() + 200
        while process.poll() is None and last_step(watched) < 60 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert begin(tmp_path / "killed", *words).wait(300) == 0
    assert not (tmp_path / "killed/c/failures.json").exists()
    assert timeless(tmp_path / "killed") == timeless(tmp_path / "whole")


@pytest.mark.slow
def test_a_crashing_arm_is_reported_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A learning rate with which every loss is soon beyond all numbers."""
    own = 'arm.bad={words: ["optimizer.lr=1e30", "optimizer.warmup=0"]}'
    steps = "suite.environments.cartpole.steps=60"
    assert compare(*SMALL, steps, "arms=[classical,bad]", own, f"logdir={tmp_path / 'c'}", "workers=2") == 0
    out = capsys.readouterr().out
    assert "cartpole/bad/seed-0: crashed (exit code 1: " in out and "FAILED (exit code 1: " in out
    found = json.loads((tmp_path / "c/results.json").read_text())
    assert found["failed"] == ["cartpole/bad/seed-0"]
    assert found["returns"]["bad"]["cartpole"] == [min(10.0, *found["returns"]["classical"]["cartpole"])]
    assert "the loss is not finite" in (tmp_path / "c/report.md").read_text()


@pytest.mark.slow
def test_samplers_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs of another command in folders of their own, whose score is minus the least loss."""
    words = ["suite=search", "environments=[mlp_wine]", "arms=[random_search]", "reference=random_search", "seeds=1"]
    words += ["controls=false", "suite.environments.mlp_wine.steps=3", f"logdir={tmp_path / 'c'}"]
    assert compare(*words) == 0
    assert "seeds: 0 to 0\nenvironments: mlp_wine (3 trials)\narms: random_search (reference)\n1 runs at a time;" in (
        capsys.readouterr().out
    )
    losses = [row["loss/trial"] for row in rows(tmp_path / "c/mlp_wine/random_search/seed-0")]
    found = json.loads((tmp_path / "c/results.json").read_text())
    assert len(losses) == 3 and found["returns"]["random_search"]["mlp_wine"] == [-min(losses)]


@pytest.mark.slow
def test_time_ends_training(tmp_path: Path) -> None:
    """Long before its steps; continuing finds it finished at its time, more of it goes on."""
    words = ["env=cartpole", "steps=1000000", "env.time_limit=20", f"logdir={tmp_path / 'x'}"]
    assert train(*words, "seconds=2") == 0
    evaluation = read_evaluation(tmp_path / "x")
    assert evaluation and 0 < evaluation["finished"] < 1_000_000
    assert train(*words, f"seconds={rows(tmp_path / 'x')[-1]['time/seconds'] + 1}") == 0
    continued = read_evaluation(tmp_path / "x")
    assert continued and continued["finished"] > evaluation["finished"]
