"""What a trial is worth, read from the files of its run."""

import json
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

Objective = Literal["final_return", "return_area", "return_per_minute"]


class NoValue(Exception):
    """A run's files do not give the objective's value; the message says why."""


class Curve:
    """A metric of a running run in points: its mean over every `interval` steps, in which something was written.

    Points have the same numbers in every trial, whatever the number of streams or the lengths of episodes, so that
    pruners can compare them. Point k holds the episodes that ended after (k - 1) and up to k intervals, or the
    evaluation that was due after k.
    """

    def __init__(self, file: Path, metric: str, interval: int) -> None:
        self._file, self._metric, self._interval = file, metric, interval
        self._evaluations = metric == "eval/return"
        self._offset, self._point, self._last = 0, 0, 0
        self._values: list[float] = []

    def points(self, ended: bool = False) -> Iterator[tuple[int, float]]:
        """The points that are new and complete: number and value. ended: the last one is complete, too."""
        for row in self._rows():
            step = int(row["step"])
            point = step // self._interval if self._evaluations else -(-step // self._interval)
            if point > self._point:
                yield from self._complete()
                self._point = point
            if row.get(self._metric) is not None:
                self._values.append(float(row[self._metric]))
                if self._evaluations:  # there is one in an interval
                    yield from self._complete()
        if ended:
            yield from self._complete()

    def _complete(self) -> Iterator[tuple[int, float]]:
        if self._values and self._point > self._last:
            yield self._point, sum(self._values) / len(self._values)
            self._last = self._point
        self._values = []

    def _rows(self) -> Iterator[dict[str, Any]]:
        """The rows that were written since."""
        if not self._file.exists():
            return
        if self._file.stat().st_size < self._offset:  # cut back to the checkpoint of a run that continues
            self._offset, self._point, self._values = 0, 0, []
        with self._file.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                yield json.loads(line)


def value(objective: Objective, folder: Path, metric: str) -> float:
    """The value of a finished run, to be maximised. metric: of the curve. Raises NoValue."""
    if objective == "return_area":
        return area(_points(folder, metric))
    final = _final_return(folder)
    if objective == "final_return":
        return final
    minutes = max((row.get("time/seconds", 0.0) for row in _rows(folder)), default=0.0) / 60
    if minutes <= 0:
        raise NoValue("metrics.jsonl has no time/seconds")
    return final / minutes if final > 0 else final * minutes  # slower is worse, whatever the sign


def area(points: list[tuple[int, float]]) -> float:
    """The mean height of a curve: the area under straight lines between its points, per step.

    points: steps, in order, with values. Before the first the curve is level.
    """
    if not points:
        raise NoValue("the curve has no points")
    (first, height), *_ = points
    total = first * height
    for (left, low), (right, high) in pairwise(points):
        total += (right - left) * (low + high) / 2
    return total / points[-1][0]


def _final_return(folder: Path) -> float:
    try:
        final = float(json.loads((folder / "evaluation.json").read_bytes())["mean"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoValue(f"evaluation.json gives no mean return: {error}") from error
    if not math.isfinite(final):
        raise NoValue(f"the mean return is {final}")
    return final


def _points(folder: Path, metric: str) -> list[tuple[int, float]]:
    rows = [(int(row["step"]), row.get(metric)) for row in _rows(folder)]
    return [(step, float(height)) for step, height in rows if height is not None]


def _rows(folder: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in (folder / "metrics.jsonl").read_bytes().splitlines()]
    except (OSError, ValueError) as error:
        raise NoValue(f"metrics.jsonl cannot be read: {error}") from error
