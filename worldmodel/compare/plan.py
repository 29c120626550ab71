"""The plan of a comparison: what is compared and how it is judged, fixed before the first run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worldmodel.compare.config import ArmConfig, TaskConfig
from worldmodel.compare.execution import Run
from worldmodel.compare.run_types import BASELINE, KINDS, Kind
from worldmodel.runs.atomic_file import atomic_file
from worldmodel.runs.folder import RunFolderError, differences

PLAN = "plan.json"
ALPHA = 0.05
CLAIM_SEEDS = 10  # fewer give no verdict
TOGETHER = 6  # arms that can be told apart in one figure
TESTS = {
    "statistic": "difference of the interquartile means of the scores, (return - low) / (high - low)",
    "test": "two-sided permutation test within environments, 10,000 permutations",
    "correction": "Holm, over arms against the reference, and over arms against their controls; again in each of "
    "several environments, over all of them",
    "interval": "95 %, stratified bootstrap, 10,000 resamples",
    "alpha": ALPHA,
    "seeds for a verdict": CLAIM_SEEDS,
    "failed runs": "those that crashed twice, or ended without finite evaluations; they count as the lowest return of "
    "all runs of the environment, or as low where that is less",
    "random seed": 0,
}


@dataclass(frozen=True)
class Arm:
    """An arm of a plan. role: reference, arm, or control, which is there for the sake of others."""

    name: str
    role: str
    config: ArmConfig
    configs: Mapping[str, Mapping[str, Any]]  # environment -> the complete configuration of its runs, but for the seed
    words: Mapping[str, tuple[str, ...]]  # environment -> words of its runs, but for the seed


@dataclass(frozen=True)
class Plan:
    """What is compared, the runs that it takes, and how it is judged."""

    suite: str
    question: str
    command: str
    metric: str
    budget: str
    seeds: int
    effects: tuple[float, ...]
    reference: str
    tasks: Mapping[str, TaskConfig]
    arms: Mapping[str, Arm]
    first_seed: int = 0

    @property
    def seeding(self) -> range:
        """The seeds of an arm's runs in an environment."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def claims(self) -> list[tuple[str, str]]:
        """The arms that are asked about, each with the reference."""
        return [(name, self.reference) for name, arm in self.arms.items() if arm.role == "arm"]

    @property
    def ablations(self) -> list[tuple[str, str]]:
        """The arms that are asked about, each with every one of its controls that takes part."""
        return [
            (name, control)
            for name, arm in self.arms.items()
            if arm.role != "control"
            for control in arm.config.controls
            if control in self.arms and (name, control) not in self.claims
        ]

    @property
    def groups(self) -> list[list[str]]:
        """The arms that are seen side by side: all if they are few, else each with the reference and its controls."""
        if len(self.arms) <= TOGETHER:
            return [list(self.arms)]
        groups = [[self.reference], *([self.reference, name] for name, _ in self.claims)]
        return [[*group, *(control for name, control in self.ablations if name == group[-1])] for group in groups]

    @property
    def left_out(self) -> dict[str, list[str]]:
        """The controls of each arm that do not take part; arms without such are left out."""
        found = {
            name: [control for control in arm.config.controls if control not in self.arms]
            for name, arm in self.arms.items()
            if arm.role != "control"
        }
        return {name: controls for name, controls in found.items() if controls}

    @property
    def kind(self) -> Kind:
        """What the runs are, but for model-free baselines."""
        return KINDS[self.command]

    def run(self, task: str, arm: str, seed: int) -> Run:
        """One run."""
        kind = self.kind if self.arms[arm].config.algorithm is None else BASELINE
        return Run(f"{task}/{arm}/seed-{seed}", kind.module, (*self.arms[arm].words[task], f"seed={seed}"))

    @property
    def runs(self) -> list[Run]:
        """All runs, those of a seed one after the other, so that a part of them is a comparison too."""
        return [self.run(task, arm, seed) for seed in self.seeding for task in self.tasks for arm in self.arms]

    def as_dict(self) -> dict[str, Any]:
        """All of it, as it is written and hashed."""
        arms = {
            name: {"role": arm.role, **asdict(arm.config), "configs": arm.configs} for name, arm in self.arms.items()
        }
        values = {
            "suite": self.suite,
            "question": self.question,
            "command": self.command,
            "metric": self.metric,
            "budget": self.budget,
            "seeds": self.seeds,
            "effects": list(self.effects),
            "reference": self.reference,
            "tests": TESTS,
            "controls left out": self.left_out,
            "environments": {name: asdict(task) for name, task in self.tasks.items()},
            "arms": arms,
            "commands": {run.name: [run.module, *run.words] for run in self.runs},
        }
        if self.first_seed:  # plans of earlier versions have no such key
            values["first_seed"] = self.first_seed
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    @property
    def hash(self) -> str:
        """SHA-256 of the plan."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write the plan, or make sure that it is the one in the folder. Raises RunFolderError where it is another."""
        path, now = folder / PLAN, self.as_dict()
        if path.exists():
            try:
                before = json.loads(path.read_bytes())
                differing = differences(before, now, ("commands",)) or differences(before, now, ())
            except (ValueError, AttributeError):
                raise RunFolderError(f"logdir={folder}: its {PLAN} is damaged; give another logdir") from None
            if differing:
                more = f" (and {len(differing) - 3} more)" if len(differing) > 3 else ""
                raise RunFolderError(
                    f"logdir={folder}: holds a comparison by another plan: {'; '.join(differing[:3])}{more}; "
                    "give the same or another logdir"
                )
            return
        with atomic_file(path) as file:
            file.write(json.dumps(now, indent=1).encode() + b"\n")
