"""Comparisons for tests: their configuration, and run folders with made-up results."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.worldmodel.train.runs import ROOT
from worldmodel.cli.command import command
from worldmodel.cli.compose import composed
from worldmodel.cli.errors import validated
from worldmodel.cli.schema import Catalogue
from worldmodel.compare.config import CompareConfig
from worldmodel.compare.execution import Failures
from worldmodel.compare.plan import Plan
from worldmodel.compare.planning import planned
from worldmodel.compare.report import Report
from worldmodel.compare.results import collected
from worldmodel.runs.yaml import to_yaml

TINY = [
    *("prefill=40", "train_ratio=2", "batch_size=4", "batch_length=4", "behavior.horizon=2", "device=cpu"),
    *("precision=float32", "threads=1", "size.deter=32", "size.hidden=16", "size.units=16", "size.depth=2"),
    *("env.time_limit=30", "eval.every=40", "eval.episodes=2", "eval.final_episodes=2", "log.every=25"),
]
WORDS = f"words={json.dumps(TINY)}"
ABOUT = {"versions": {"worldmodel": "0"}, "commit": None, "hardware": {"cpu": "a cpu"}}


def compare(*words: object) -> int:
    """The command, in this process; returns its exit code."""
    return command("compare", "worldmodel.compare.run:run", list(map(str, words)))


def config(*words: object) -> CompareConfig:
    """The configuration of a command line."""
    configs = ROOT / "configs"
    composition = composed(Catalogue(configs, "compare"), configs, "compare", list(map(str, words)))
    return validated(CompareConfig, composition.values(), composition.texts)


@cache
def plan(*words: str) -> Plan:
    """The plan of a command line."""
    return planned(config(*words))


def fill(plan: Plan, folder: Path, score: Callable[[str, str, int], float | None]) -> None:
    """Write the folders of finished runs; score: of environment, arm and seed, None for a run that is not there."""
    for task, settings in plan.tasks.items():
        for arm in plan.arms:
            for seed in plan.seeding:
                value = score(task, arm, seed)
                if value is not None:
                    config = {**plan.arms[arm].configs[task], "seed": seed}
                    write_run(folder / plan.run(task, arm, seed).name, value, settings.steps, config)


def write_run(path: Path, value: float, steps: int, config: Mapping[str, Any]) -> None:
    """A finished run with this return, half of it half-way."""
    path.mkdir(parents=True)
    rows = [
        {"step": steps // 2, "eval/return": value / 2, "time/seconds": 30.0, "updates": 10},
        {"step": steps, "eval/return": value, "time/seconds": 60.0, "updates": 20},
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "config.yaml").write_text(to_yaml(json.loads(json.dumps({**config, **ABOUT}))))
    found = {"returns": [value], "mean": value, "std": 0.0, "episodes": 1, "step": steps, "finished": steps}
    (path / "evaluation.json").write_text(json.dumps(found))


def report(plan: Plan, folder: Path, device: str | None = None) -> Report:
    """The report of the folders."""
    return Report(plan, collected(plan, folder, Failures(folder), device), ["suite=smoke"], device)
