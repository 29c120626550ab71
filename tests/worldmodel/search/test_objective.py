"""What a trial is worth: exact values on curves written by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from worldmodel.search.objective import Curve, NoValue, area, value


def write(folder: Path, *rows: dict[str, Any], mean: float | None = None) -> Path:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if mean is not None:
        (folder / "evaluation.json").write_text(json.dumps({"mean": mean}))
    return folder


def test_area() -> None:
    assert area([(10, 3.0)]) == 3
    assert area([(0, 0.0), (10, 10.0)]) == 5  # a straight line
    assert area([(10, 2.0), (20, 4.0), (40, 4.0)]) == pytest.approx((10 * 2 + 10 * 3 + 20 * 4) / 40)
    with pytest.raises(NoValue):
        area([])


@pytest.mark.parametrize(("mean", "rate"), [(100.0, 50.0), (-100.0, -200.0), (0.0, 0.0)])
def test_values(tmp_path: Path, mean: float, rate: float) -> None:
    """Two minutes: a gain is divided by them, a loss multiplied, so that slower is worse."""
    rows = [{"step": 5, "episode/return": 1.0}, {"step": 10, "episode/return": 3.0, "time/seconds": 120.0}]
    write(tmp_path, *rows, mean=mean)
    assert value("final_return", tmp_path, "eval/return") == mean
    assert value("return_per_minute", tmp_path, "eval/return") == rate
    assert value("return_area", tmp_path, "episode/return") == pytest.approx((5 * 1 + 5 * 2) / 10)


def test_runs_without_values(tmp_path: Path) -> None:
    for objective in ("final_return", "return_area", "return_per_minute"):
        with pytest.raises(NoValue):
            value(objective, tmp_path, "eval/return")  # type: ignore[arg-type]
    write(tmp_path, {"step": 1}, mean=float("nan"))
    with pytest.raises(NoValue, match="the mean return is nan"):
        value("final_return", tmp_path, "eval/return")
    with pytest.raises(NoValue, match="the curve has no points"):
        value("return_area", tmp_path, "eval/return")


def test_points_of_episodes(tmp_path: Path) -> None:
    """Means over intervals, which are complete once a later row is written."""
    file = tmp_path / "metrics.jsonl"
    curve = Curve(file, "episode/return", 10)
    assert list(curve.points()) == []
    rows = [{"step": 3, "episode/return": 1.0}, {"step": 10, "episode/return": 3.0}]
    write(tmp_path, *rows)
    assert list(curve.points()) == []
    rows += [{"step": 11, "loss": 1.0}, {"step": 25, "episode/return": 7.0}, {"step": 26, "episode/return": None}]
    write(tmp_path, *rows)
    assert list(curve.points()) == [(1, 2.0)]  # and nothing in the second interval
    with file.open("a") as half:
        half.write('{"step": 41, "episo')
    assert list(curve.points()) == []
    assert list(curve.points(ended=True)) == [(3, 7.0)]


def test_points_of_evaluations(tmp_path: Path) -> None:
    """At once, by the evaluation that was due, even where streams side by side step over it."""
    rows = [{"step": 10, "eval/return": 1.0}, {"step": 22, "eval/return": 2.0}, {"step": 25, "eval/return": 3.0}]
    write(tmp_path, *rows)
    assert list(Curve(tmp_path / "metrics.jsonl", "eval/return", 10).points()) == [(1, 1.0), (2, 2.0)]


def test_a_curve_that_is_cut_back(tmp_path: Path) -> None:
    """As that of a run that continues from a checkpoint: no point is told twice."""
    rows = [{"step": step, "episode/return": float(step)} for step in range(1, 7)]
    curve = Curve(write(tmp_path, *rows) / "metrics.jsonl", "episode/return", 1)
    assert [point for point, _ in curve.points()] == [1, 2, 3, 4, 5]
    write(tmp_path, *rows[:3])
    assert list(curve.points()) == []
    write(tmp_path, *rows, {"step": 7, "episode/return": 7.0})
    assert list(curve.points()) == [(6, 6.0)]
