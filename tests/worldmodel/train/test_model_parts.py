"""Cells and heads that a user brings: opened by module:Class, trained, continued and loaded without compiled loops."""

from pathlib import Path

import numpy as np
import pytest
import yaml

import worldmodel
from tests.worldmodel.train.runs import line_of, rows, train
from worldmodel.kernels.supported import has_kernels

TOY = """
import torch
from torch import nn

from worldmodel.model.cells.cell import Cell
from worldmodel.model.fronts.front import Front
from worldmodel.model.heads.head import Head
from worldmodel.model.routers.router import Router


class Toy(Cell):
    def __init__(self, size, action):
        super().__init__()
        self.gru = nn.GRUCell(size.stoch * size.classes + action, size.deter)

    def step(self, deter, stoch, action):
        return self.gru(torch.cat([stoch, action], -1), deter)


class Linear(Head):
    def __init__(self, inputs, units, layers, outputs, scale=1.0):
        super().__init__()
        self.out = nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.out(x)


class Even(Router):
    def __init__(self, inputs, experts):
        super().__init__()
        self.experts = experts

    def forward(self, x):
        return x.new_full((*x.shape[:-1], self.experts), 1 / self.experts)


class Last(Front):
    def __init__(self, inputs, outputs, options):
        super().__init__()
        self.outputs = outputs

    def forward(self, x):
        return x[..., -self.outputs :]
"""
PARTS = ("model.cell=toy_parts:Toy", "model.heads.actor=toy_parts:Linear", "model.heads.prior=toy_parts:Linear")
HEADS = ("actor", "critic", "reward", "continuation", "prior")
UNSCHEDULED = ("optimizer.final_rate=1", "behavior.entropy=3e-4", "behavior.final_entropy=3e-4")  # by steps
EVERY = ("eval.final_episodes=0", "log.every=50", "deterministic=true", *UNSCHEDULED)


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_parts.py").write_text(TOY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.slow
def test_a_cell_of_the_user_trains_and_continues_to_the_bit(tmp_path: Path) -> None:
    assert train(*PARTS, *EVERY, "steps=300", "logdir=whole") == 0
    assert train(*PARTS, *EVERY, "steps=150", "logdir=parts") == 0
    assert train(*PARTS, *EVERY, "steps=300", "logdir=parts") == 0
    whole, parts = (
        [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows(tmp_path / name)]
        for name in ("whole", "parts")
    )
    assert parts[-1] == whole[-1]
    losses = [row["loss/model"] for row in whole if "loss/model" in row]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    agent = worldmodel.load("whole").player.agent
    assert type(agent.world_model.rssm.cell).__name__ == "Toy" and not has_kernels(agent) and agent.kernels is None


def test_a_run_that_names_no_parts_continues_with_the_gru_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("steps=60", "logdir=old") == 0
    path = tmp_path / "old" / "config.yaml"
    stored = yaml.safe_load(path.read_text())
    model = stored.pop("model")
    assert (model["cell"], model["heads"], model["router"]) == ("gru", dict.fromkeys(HEADS, "mlp"), "none")
    del stored["circuit"], stored["optimizer"]["angles"]
    path.write_text(yaml.safe_dump(stored))
    capsys.readouterr()
    assert train("steps=80", "logdir=old", PARTS[0]) == 2
    assert "model.cell was gru, is toy_parts:Toy" in line_of(capsys.readouterr().err)
    assert train("steps=80", "logdir=old") == 0


def test_a_router_and_a_front_of_the_user(tmp_path: Path) -> None:
    words = ("model.router=toy_parts:Even", "model.front=toy_parts:Last", "model.heads.actor=circuit")
    assert train(*words, "steps=60", "eval.final_episodes=0", "log.every=20", f"logdir={tmp_path / 'run'}") == 0
    found = [row["model/prior/routing_entropy"] for row in rows(tmp_path / "run") if "loss/model" in row]
    np.testing.assert_allclose(found, np.log(4), rtol=1e-6)


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("model.cell=gur", "model.cell=gur: no such cell; did you mean gru? (accepted: circuit, "),
        ("model.cell=toy_parts:Linear", "model.cell=toy_parts:Linear: is no cell; a class of Cell is accepted"),
        ("model.cell=absent:Toy", "model.cell=absent:Toy: cannot be imported (ModuleNotFoundError: No module named"),
        ("model.heads.prior=gru", "model.heads.prior=gru: no such head (accepted: circuit, "),
    ],
)
def test_parts_that_are_not_there_are_refused_in_one_line(
    word: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(word, "logdir=run") == 2
    assert line in line_of(capsys.readouterr().err)
