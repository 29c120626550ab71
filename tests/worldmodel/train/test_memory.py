"""Runs with an episodic memory: they continue to the bit, write their metrics, and can be loaded."""

from pathlib import Path

import numpy as np
import pytest

import worldmodel
from tests.worldmodel.train.runs import line_of, rows, train

WORDS = (
    *("env=tmaze", "env.kwargs.delay=9", "env.num=2", "model.memory_options={slots:3,amplitudes:8,values:6}"),
    *("optimizer.final_rate=1", "behavior.entropy=3e-4", "behavior.final_entropy=3e-4", "deterministic=true"),
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["qmatrix", "random"])
def test_a_run_continues_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    words = (*WORDS, f"model.memory={kind}", "eval.final_episodes=0", "log.every=50")
    assert train(*words, "steps=300", "logdir=whole") == 0
    assert train(*words, "steps=150", "logdir=parts") == 0
    assert train(*words, "steps=300", "logdir=parts") == 0
    whole, parts = (
        [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows(tmp_path / name)]
        for name in ("whole", "parts")
    )
    assert parts[-1] == whole[-1]
    found = [row for row in whole if "loss/model" in row][-1]
    figures = {name: found[f"model/memory_{name}"] for name in ("size", "merges", "hits", "success", "queries")}
    assert 1 <= figures["size"] <= 3 and 0 < figures["merges"] < 1 and 0 <= figures["hits"] <= 1
    assert 0 <= figures["success"] <= 1 and figures["queries"] >= 1
    assert found["model/memory_scan"] == found["model/memory_loading"] == figures["size"]
    policy = worldmodel.load("whole")
    observation, state = np.eye(6, dtype=np.float32)[0], None
    for _ in range(3):
        _, state = policy.act(observation, state)
    assert state is not None and state.state.slots.sums[0, 0, -1] == 3  # alike, so one slot has them


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("model.memory=qmatric", "model.memory=qmatric: no such memory; did you mean qmatrix? (accepted: attention, "),
        ("model.memory_options.amplitudes=12", "model.memory_options.amplitudes=12: a power of two from 4 to 1024 is"),
        ("model.memory_options.merge=2", "model.memory_options.merge=2"),
        ("model.memory_options.slots=0", "model.memory_options.slots=0"),
    ],
)
def test_bad_options_are_refused_in_one_line(word: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(*WORDS[:3], word, "logdir=run") == 2
    assert line in line_of(capsys.readouterr().err)
