"""A run, a ledger, a study and a comparison that commit 924b6d2 wrote continue."""

import json
import tarfile
from pathlib import Path

import pytest
import torch

from hybrid_opt.backends.ledger.__main__ import main as ledger
from tests.worldmodel.train.runs import rows
from worldmodel.cli.command import command
from worldmodel.runs.checkpoint import state_file
from worldmodel.runs.saved_state import load_state

ARCHIVE = Path(__file__).parents[2] / "fixtures" / "runs_of_924b6d2.tar.xz"
WORDS = [
    *("prefill=40", "train_ratio=2", "batch_size=4", "batch_length=4", "behavior.horizon=2", "device=cpu"),
    *("precision=float32", "threads=1", "size.deter=16", "size.hidden=8", "size.units=8", "size.depth=1"),
    *("size.stoch=4", "size.classes=4", "size.blocks=2", "replay.capacity=10000", "log.predictions_every=0"),
    "log.every=100",
]
SEARCHED = "space.behavior.entropy={type:float,low:1e-5,high:1e-3,log:true}"


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the archive is unpacked into, which is the working directory."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_run(written: Path) -> None:
    """Its weights, whose names had no halves of the agent, its optimiser, replay and metrics."""
    before, old = rows(written / "run")[:-1], load_state(state_file(written / "run"))  # the final evaluation goes
    assert {"rssm.gates.weight", "actor.net.out.bias"} <= old["agent"].keys()
    words = [*WORDS, "deterministic=true", "steps=704", "eval.every=0", "eval.final_episodes=1", "logdir=run"]
    assert command("train", "worldmodel.train.run:run", ["env=cartpole", *words]) == 0
    new = load_state(state_file(written / "run"))
    assert new["step"] == 704 and rows(written / "run")[: len(before)] == before
    assert [value.shape for value in new["agent"].values()] == [value.shape for value in old["agent"].values()]


def test_its_weights(written: Path) -> None:
    """They begin a run, and play."""
    words = [*WORDS, "steps=10", "eval.every=0", "eval.final_episodes=0", "logdir=other", "init=run"]
    assert command("train", "worldmodel.train.run:run", ["env=cartpole", *words]) == 0
    old, new = (load_state(state_file(written / name))["agent"] for name in ("run", "other"))
    assert all(torch.equal(*pair) for pair in zip(old.values(), new.values(), strict=True))  # prefill: no update
    assert command("evaluate", "worldmodel.evaluate.run:run", ["logdir=run", "episodes=1", "device=cpu"]) == 0


def test_the_ledger(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ledger(["show", "--all", "ledger.sqlite"]) == 0
    shown = capsys.readouterr().out
    assert "statevector" in shown and "dwave" in shown, shown


@pytest.mark.slow
def test_the_study(written: Path) -> None:
    words = [*WORDS, "deterministic=true", "steps=80", "eval.every=0", "eval.final_episodes=1", "logdir=study"]
    words += ["env=cartpole", "trials=4", "sampler=random", "space=empty", SEARCHED]
    assert command("search", "worldmodel.search.run:run", words) == 0
    assert len(list((written / "study" / "trials").iterdir())) == 4


def test_the_comparison(written: Path) -> None:
    """Nothing of it runs again, and its report is written anew."""
    listed = ",".join(f'"{word}"' for word in [*WORDS, "env.time_limit=30", "eval.every=40", "eval.episodes=1"])
    words = [f'words=[{listed},"eval.final_episodes=1"]', "suite.environments.cartpole.steps=80", "seeds=1"]
    words += ["suite=smoke", "controls=false", "arms=[classical,prioritized]", "deterministic=true"]
    (written / "comparison" / "report.md").unlink()
    results = json.loads((written / "comparison" / "results.json").read_text())
    assert command("compare", "worldmodel.compare.run:run", [*words, "execute=false", "logdir=comparison"]) == 0
    assert (written / "comparison" / "report.md").exists()
    assert json.loads((written / "comparison" / "results.json").read_text()).keys() == results.keys()
