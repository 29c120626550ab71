"""The kinds of runs that a comparison makes: the commands behind them, and what their steps and returns are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldmodel.cli.compose import configured
from worldmodel.runs.parts import command_config


@dataclass(frozen=True)
class Kind:
    """A command: `python -m worldmodel.NAME`.

    budget: the key of its steps. unit: what these are. final and area: what a return is by either metric. plays: in
    environments, for any of the budgets, and bit-exactly where it is told so.
    """

    name: str
    budget: str
    unit: str
    final: str
    area: str
    plays: bool = False

    @property
    def module(self) -> str:
        """What `python -m` runs."""
        return f"worldmodel.{self.name}"

    def config(self, words: Sequence[str], configs: Path) -> Any:
        """The configuration that the command makes of words. Raises UsageError."""
        return configured(self.name, command_config(self.name), words, configs)


_PLAYED: dict[str, Any] = {
    "budget": "steps",
    "unit": "environment steps",
    "final": "mean return of the last evaluation",
    "area": "mean return of all evaluations",
    "plays": True,
}
BASELINE = Kind("baseline", **_PLAYED)
KINDS = {
    "train": Kind("train", **_PLAYED),
    "hpo": Kind(
        "hpo",
        budget="trials",
        unit="trials",
        final="minus the least loss of all trials",
        area="minus the least loss so far, in the mean over the trials",
    ),
    "fit": Kind(
        "fit",
        budget="steps",
        unit="gradient-equivalents",
        final="minus the held-out loss at the end (the mean of its last three evaluations)",
        area="minus the held-out loss, in the mean over its evaluations",
    ),
}
