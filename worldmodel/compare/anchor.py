"""Anchors: published returns, which a report shows beside the runs of a comparison."""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from worldmodel.cli.compose import UsageError

FOLDER = Path(__file__).with_name("anchors")
COLUMNS = ("task", "method", "env_steps", "return", "source")


@dataclass(frozen=True)
class Anchor:
    """What a method was published to reach in a task.

    task: as the source names it, with its version where the source gives one; steps: of the environment, action
    repeats counted; value: the return.
    """

    task: str
    method: str
    steps: int
    value: float
    source: str


def base(task: str) -> str:
    """The name of a task without its namespace and its version: Hopper for Hopper-v5."""
    return re.sub(r"-v\d+$", "", task.rpartition("/")[2].rpartition(":")[2])


class Anchors:
    """Published returns of one collection."""

    def __init__(self, name: str, anchors: Iterable[Anchor]) -> None:
        self.name, self._anchors = name, tuple(anchors)

    def of(self, task: str, steps: int | None = None) -> list[Anchor]:
        """The anchors of a task, whatever its version, at so many environment steps, or at all that are known.

        task: an environment's id. Methods and steps come in the order of the collection.
        """
        wanted = base(task)
        return [one for one in self._anchors if base(one.task) == wanted and steps in (None, one.steps)]


def read_anchors(name: str) -> Anchors:
    """Read one of the collections that come with the package. Raises UsageError for an unknown name."""
    known = sorted(path.stem for path in FOLDER.glob("*.csv"))
    if name not in known:
        raise UsageError(f"suite.anchors={name}: {', '.join(known)} or null is accepted")
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return Anchors(name, map(_anchor, csv.DictReader(file)))


def _anchor(row: dict[str, str]) -> Anchor:
    return Anchor(row["task"], row["method"], int(row["env_steps"]), float(row["return"]), row["source"])


def told_sources(anchors: Sequence[Anchor]) -> dict[str, str]:
    """The methods of each source, in the order of the anchors."""
    found: dict[str, dict[str, None]] = {}
    for one in anchors:
        found.setdefault(one.source, {})[one.method] = None
    return {source: ", ".join(methods) for source, methods in found.items()}
