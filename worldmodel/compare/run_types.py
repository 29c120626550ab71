"""The kinds of runs that a comparison makes: the commands behind them, and what their steps and returns are."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from worldmodel.cli.compose import configured


@dataclass(frozen=True)
class Kind:
    """A command: `python -m worldmodel.NAME`, with configs/NAME.yaml and a config dataclass.

    budget: the key of its steps. unit: what these are. final and area: what a return is by either metric. plays: in
    environments, for any of the budgets, and bit-exactly where it is told so.
    """

    name: str
    schema: str
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
        module, _, name = self.schema.partition(":")
        return configured(self.name, getattr(import_module(module), name), words, configs)


_PLAYED: dict[str, Any] = {
    "budget": "steps",
    "unit": "environment steps",
    "final": "mean return of the last evaluation",
    "area": "mean return of all evaluations",
    "plays": True,
}
BASELINE = Kind("baseline", "worldmodel.baseline.config:BaselineConfig", **_PLAYED)
KINDS = {
    "train": Kind("train", "worldmodel.train.config:TrainConfig", **_PLAYED),
    "hpo": Kind(
        "hpo",
        "worldmodel.hpo.config:HpoConfig",
        budget="trials",
        unit="trials",
        final="minus the least loss of all trials",
        area="minus the least loss so far, in the mean over the trials",
    ),
    "fit": Kind(
        "fit",
        "worldmodel.fit.config:FitConfig",
        budget="steps",
        unit="gradient-equivalents",
        final="minus the held-out loss at the end (the mean of its last three evaluations)",
        area="minus the held-out loss, in the mean over its evaluations",
    ),
}
