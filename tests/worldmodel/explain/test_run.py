"""`python -m worldmodel.explain` on whole runs: what it writes, what it leaves alone, and what it refuses."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.worldmodel.train.runs import line_of, train
from worldmodel.cli.command import command

SMALL = ("device=cpu", "threads=1", "episodes=2", "states=8", "orders=3", "draws=2")
PICTURE = "env.id=tests.worldmodel.worlds:Picture-v0"
RUNS: dict[str, tuple[str, ...]] = {
    "cartpole": ("steps=50", "env.time_limit=20"),
    "circuit": ("steps=50", "env.time_limit=20", "model.heads.actor=circuit", "circuit.qubits=2", "circuit.layers=1"),
    "picture": ("steps=50", PICTURE),
    "memory": ("steps=80", "env=tmaze", "env.kwargs.delay=10", "model.memory=qmatrix", "model.memory_options.slots=8"),
    "control": ("steps=50", "env.id=Pendulum-v1", "model.agent=control", "env.time_limit=20"),
}


def explain(*words: object) -> int:
    """Explain in this process; returns the exit code."""
    return command("explain", "worldmodel.explain.run:run", [*SMALL, *map(str, words)])


def content(run: Path) -> dict[str, bytes]:
    """Every file of a run."""
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "cartpole"
    assert train(*RUNS["cartpole"], f"logdir={path}") == 0
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_a_page_and_figures_are_written_and_nothing_else(
    kind: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    if kind == "cartpole":
        shutil.copytree(trained, run)
    else:
        assert train(*RUNS[kind], f"logdir={run}") == 0
    before = content(run)
    capsys.readouterr()
    assert explain(f"logdir={run}") == 0
    after = content(run)
    assert {name for name in after if after[name] != before.get(name)} == {"explanation.html", "explanation.json"}
    found: dict[str, Any] = json.loads(after["explanation.json"])
    assert len(found["tests"]) == 8 and {len(test["importance"]) for test in found["tests"]} == {len(found["features"])}
    assert [episode["length"] for episode in found["episodes"]] and len(found["states"]) == 8
    for state in found["states"]:
        for each in state["attributions"].values():
            assert len(each["values"]) == len(found["features"])
    assert (found["spectra"].get("policy", {}).get("shares") is not None) == (kind == "circuit")
    page = after["explanation.html"].decode()
    assert ("What the memory read" in page) == (kind == "memory")
    for state in found["states"] if kind == "memory" else []:
        assert 0 < state["memory"]["slots"] <= 8 and 0 < state["memory"]["success"] <= 1
        assert all(read[1] <= state["step"] for read in state["memory"]["read"])
    assert not re.search(r"""(src|href)=["'](?!#|data:)|url\(|@import""", page)
    frames = page.count("data:image/png")
    assert (frames > 0) == (kind != "memory") and page.count("<svg") >= 6  # the T-maze shows no frames
    for test in found["tests"]:
        assert test["holds"] == (not test["faults"])
        assert all(fault in page for fault in test["faults"])
    out = capsys.readouterr().out
    assert out.count("integrated gradients") == 4 and f"{run}: explanation.html, explanation.json" in out
    assert explain(f"logdir={run}") == 0
    assert content(run) == after  # it repeats to the bit


def test_an_untrained_value_is_said_to_explain_nothing(trained: Path, tmp_path: Path) -> None:
    """The critic's outputs start at zero; after a few updates they have hardly moved."""
    run = shutil.copytree(trained, tmp_path / "run")
    assert explain(f"logdir={run}", "episodes=1", "states=3") == 0
    found = json.loads((run / "explanation.json").read_text())
    values = [test for test in found["tests"] if test["target"] == "value"]
    assert not any(test["holds"] for test in values)
    assert "do not rely on it" in (lead := (run / "explanation.html").read_text()) or "not better than random" in lead


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "logdir=VALUE: must be given"),
        (("logdir={tmp}/none",), "logdir={tmp}/none: holds no run: it has no config.yaml"),
        (("logdir={run}", "checkpoint=none"), "none: holds no checkpoint; "),
        (("logdir={run}", "episodes=0"), "episodes=0: must be greater than or equal to 1"),
        (("logdir={run}", "orders=1"), "orders=1: must be greater than or equal to 2"),
        (("logdir={run}", "device=gpu"), "device=gpu: auto, cpu, cuda or cuda:N is accepted"),
        (("logdir={run}", "video=a.gif"), "video=a.gif: unknown key; it is a key of worldmodel.evaluate"),
    ],
)
def test_wrong_words_are_one_line(
    words: tuple[str, ...], line: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(trained)
    assert explain(*(word.format(run=trained, tmp=tmp_path) for word in words)) == 2
    assert line.format(tmp=tmp_path) in line_of(capsys.readouterr().err)
    assert content(trained) == before
