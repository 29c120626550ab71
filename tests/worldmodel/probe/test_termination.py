"""The probe of terminations: labels by hand, machines on a rule that is known, and a run from end to end."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worldmodel.envs.config import EnvConfig

from tests.worldmodel.train.runs import line_of, train
from worldmodel.envs import Environments
from worldmodel.probe.__main__ import main
from worldmodel.probe.termination.classifier import KERNELS, classified, split
from worldmodel.probe.termination.episodes import labelled

SMALL = ["train=40", "validate=40", "test=60", "splits=2"]


def test_labels_are_the_steps_that_were_left() -> None:
    """CartPole at random: all but those cut off by a time limit have `within` positive states at their end."""
    x, y = labelled(Environments(EnvConfig(id="CartPole-v1"), 2, 0, evaluation=True), None, 200, 5, 0)
    assert x.shape == (len(y), 4) and len(y) >= 200
    places = np.flatnonzero(y)
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    assert all(len(run) == 5 for run in runs)
    cut = labelled(Environments(EnvConfig(id="CartPole-v1", time_limit=7), 2, 0, evaluation=True), None, 50, 5, 0)
    assert not cut[1].any()  # no episode ends by itself within 7 steps


def test_every_kernel_learns_a_rule_and_none_learns_noise() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(700, 3)) * [1.0, 5.0, 0.2] + 3.0
    rule, noise = x[:, 0] * 1.0 > 3.5, rng.random(700) < 0.5
    for y, low, high in ((rule, 0.9, 1.0), (noise, 0.4, 0.6)):
        data = split(x, y, (100, 100, 500), np.random.default_rng(1))
        np.testing.assert_allclose(data.x[0].std(0), 1.0)
        for name in KERNELS if low == 0.9 else ("rbf",):
            found = classified(name, data)
            assert low <= found.area <= high, name
            assert 0 < found.concentration.mean <= 1


def test_wide_states_are_projected() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(120, 12)), np.ones((120, 1))], 1)  # the last says nothing
    assert split(x, x[:, 0] > 0, (40, 40, 40), rng).x[0].shape == (40, 8)


@pytest.mark.slow
def test_a_table_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert train("steps=50", f"logdir={run}") == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for policy in ("random", "agent"):
        assert main(["termination", *SMALL, f"policy={policy}", "device=cpu", f"logdir={run}"]) == 0
        found: dict[str, Any] = json.loads((run / "termination.json").read_text())
        assert [row["kernel"] for row in found["rows"]] == [*KERNELS]
        assert all(0.3 < row["area"] <= 1 and len(row["areas"]) == 2 for row in found["rows"])
    assert capsys.readouterr().out.count("projected") == 2
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert {path.name for path in after if after[path] != before.get(path)} == {"termination.json"}
    assert main(["termination", *SMALL, "within=1", "test=20", "train=20", "validate=20", f"logdir={run}"]) in (0, 2)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["termination"], "logdir=VALUE: must be given"),
        (["termination", "logdir={tmp}/none"], "holds no run: it has no config.yaml"),
        (["termination", "logdir=x", "train=2"], "train=2: must be greater than or equal to 20"),
        (["termination", "logdir=x", "policy=best"], "policy=best: "),
        (["termination", "logdir=x", "kernel=iqp"], "kernel=iqp: unknown key"),
    ],
)
def test_wrong_words_are_one_line(
    words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(tmp=tmp_path) for word in words]) == 2
    assert line in line_of(capsys.readouterr().err)
