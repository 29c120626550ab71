"""The runs of suite=search and suite=direction: studies of samplers, and small trainings on fixed data."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.worldmodel.train.runs import line_of
from worldmodel.cli.command import command
from worldmodel.compare.tasks.objectives import OBJECTIVES, objective
from worldmodel.runs.evaluation import read_evaluation


def hpo(*words: object) -> int:
    return command("hpo", "worldmodel.hpo.run:run", list(map(str, words)))


def fit(*words: object) -> int:
    return command("fit", "worldmodel.fit.run:run", list(map(str, words)))


def rows(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in found]


@pytest.mark.slow
def test_a_study_tells_the_least_loss(tmp_path: Path) -> None:
    """best.yaml has the point, whose loss is that of the evaluation; the same seed gives the same study."""
    words = ["task=mlp_wine", "trials=7", "sampler=qubo", "sampler.n_startup_trials=4", "sampler.solver=qaoa"]
    words += ["sampler.options={shots:16,layers:1}", "seed=3"]
    for name in "ab":
        assert hpo(*words, f"logdir={tmp_path / name}") == 0
    found = rows(tmp_path / "a")
    assert found == rows(tmp_path / "b") and [row["step"] for row in found] == [1, 2, 3, 4, 5, 6, 7]
    losses = [row["loss/trial"] for row in found]
    assert [row["eval/return"] for row in found] == [-min(losses[: count + 1]) for count in range(7)]
    assert [row["quantum/shots"] for row in found] == [0, 0, 0, 0, 16, 32, 48]
    evaluation = read_evaluation(tmp_path / "a")
    assert evaluation and evaluation["mean"] == -min(losses) and evaluation["finished"] == 7
    point = yaml.safe_load((tmp_path / "a/best.yaml").read_text())
    assert objective("mlp_wine").loss(point) == min(losses)
    before = (tmp_path / "a/metrics.jsonl").read_bytes()
    assert hpo(*words, f"logdir={tmp_path / 'a'}") == 0 and (tmp_path / "a/metrics.jsonl").read_bytes() == before


def test_a_run_of_another_configuration_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sampler=random", f"logdir={tmp_path / 'a'}"]
    assert hpo("task=mlp_wine", "trials=1", *words) == 0
    capsys.readouterr()
    assert hpo("task=mlp_wine", "trials=2", *words) == 2
    assert "trials was 1, is 2" in line_of(capsys.readouterr().err)


def test_levels_tell_points_apart() -> None:
    """Every objective has numbers in rising order or different texts, and a loss that is not the same everywhere."""
    for made in (make() for make in OBJECTIVES.values()):
        for levels in made.levels.values():
            assert len(set(levels)) == len(levels) > 2
            assert isinstance(levels[0], str) or list(levels) == sorted(levels)
        ends = [{name: levels[place] for name, levels in made.levels.items()} for place in (0, -1)]
        assert made.loss(ends[0]) == made.loss(ends[0]) != made.loss(ends[1])


def test_without_a_choice_hybrid_is_its_base(tmp_path: Path) -> None:
    """To the last bit: the first choice would come after the end."""
    words = ["task=digits", "steps=60", "test_every=20"]
    assert fit(*words, "optimizer=adam", f"logdir={tmp_path / 'a'}") == 0
    assert fit(*words, "optimizer=hybrid", "every=1000", f"logdir={tmp_path / 'h'}") == 0
    base, hybrid = rows(tmp_path / "a"), rows(tmp_path / "h")
    assert [row["eval/return"] for row in base] == [row["eval/return"] for row in hybrid]
    assert [row["step"] for row in base] == [20, 40, 60]
    evaluation = read_evaluation(tmp_path / "a")
    assert evaluation and evaluation["mean"] == pytest.approx(sum(row["eval/return"] for row in base) / 3)


def test_choices_are_paid_for(tmp_path: Path) -> None:
    """No held-out loss counts that was reached beyond the budget, and with choices fewer steps fit into it."""
    words = ["task=digits", "optimizer=hybrid", "steps=120", "test_every=5", "every=10", "solver=greedy"]
    assert fit(*words, f"logdir={tmp_path / 'h'}") == 0
    found = rows(tmp_path / "h")
    assert found[-1]["step"] <= 120 and found[-1]["updates"] < 110
    assert found[-1]["quantum/choices"] > 0 and found[-1]["quantum/evaluations"] > 0


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("steps=30", "test_every=20: at most half of steps=30 is accepted"),
        ("solver.shts=3", "shts"),
        ("optimizer=sgd", "optimizer=sgd: must be adam or hybrid"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, error: str) -> None:
    assert fit(words, f"logdir={tmp_path / 'x'}") == 2
    assert error in line_of(capsys.readouterr().err) and not (tmp_path / "x").exists()
