"""What the runs of a comparison left in their folders."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import yaml

from worldmodel.compare.costs import QuantumCost, quantum_cost
from worldmodel.compare.execution import Failures, Run, finished
from worldmodel.compare.plan import Plan
from worldmodel.runs.evaluation import read_evaluation
from worldmodel.runs.folder import METRICS, RunFolderError, differences
from worldmodel.runs.yaml import read_yaml

WORK = {  # the last parts of metrics that tell how much was done
    "choices": "update directions chosen",
    "acceptance": "share of them, or of a chain's proposals, taken",
    "trainings": "trainings of a Boltzmann machine",
    "fallback_rate": "share of batches (recall: of searches) left to the sum tree",
}


@dataclass(frozen=True)
class Result:
    """A run. score: by the metric of the plan, in returns; curve: step -> return of the evaluation.

    work: how much the parts did that arms differ in, by the names of WORK.
    """

    run: Run
    state: Literal["finished", "failed", "missing"]
    score: float | None = None
    curve: Mapping[int, float] = field(default_factory=dict)
    steps: int = 0
    updates: float = 0.0
    seconds: float = 0.0
    quantum: QuantumCost = field(default_factory=QuantumCost)
    work: Mapping[str, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)  # versions, commit, hardware


def collected(
    plan: Plan, folder: Path, failures: Failures, device: str | None = None
) -> dict[tuple[str, str], list[Result]]:
    """The results of all runs: (environment, arm) -> those of its seeds. Raises RunFolderError for damaged ones.

    device: that quantum jobs are priced for.
    """
    return {
        (task, arm): [result(plan, folder, (task, arm, seed), failures, device) for seed in plan.seeding]
        for task in plan.tasks
        for arm in plan.arms
    }


def result(
    plan: Plan, folder: Path, which: tuple[str, str, int], failures: Failures, device: str | None = None
) -> Result:
    """The result of a run, as far as it is. which: its environment, arm and seed. Raises RunFolderError."""
    task, arm, seed = which
    run = plan.run(task, arm, seed)
    path, reasons = folder / run.name, tuple(failures.reasons.get(run.name, ()))
    rows = _rows(path / METRICS)
    quantum = quantum_cost(path / "ledger.sqlite", rows, device)
    seconds = max((row["time/seconds"] for row in rows if row.get("time/seconds") is not None), default=0.0)
    if not finished(path):
        return Result(
            run, "failed" if failures.failed(run.name) else "missing", seconds=seconds, quantum=quantum, reasons=reasons
        )
    evaluation = read_evaluation(path)
    assert evaluation
    about = _about(path, {**plan.arms[arm].configs[task], "seed": seed})
    evaluations = {row["step"]: row["eval/return"] for row in rows if "eval/return" in row}
    curve = {step: value for step, value in evaluations.items() if value is not None}
    ended = {"steps": evaluation["finished"], "seconds": seconds, "quantum": quantum, "about": about}
    if not curve or len(curve) < len(evaluations) or not isfinite(evaluation["mean"]):
        why = "it ended, but not all of its evaluations are finite" if evaluations else "it was never evaluated"
        return Result(run, "failed", reasons=(*reasons, why), **ended)
    # what may be evaluated anew, by `worldmodel.evaluate`, is in the metrics as well
    final = curve[max(curve)] if plan.kind.plays else evaluation["mean"]
    score = final if plan.metric == "final" else sum(curve.values()) / len(curve)
    updates = max((row["updates"] for row in rows if row.get("updates") is not None), default=0.0)
    return Result(run, "finished", float(score), curve, updates=updates, work=_work(rows), reasons=reasons, **ended)


def _work(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The last values of what directions and selectors count."""
    last = {key: value for row in rows for key, value in row.items() if value is not None}
    parts = {key.rpartition("/")[2]: value for key, value in last.items() if key.startswith(("quantum/", "replay/"))}
    return {name: float(parts[name]) for name in WORK if name in parts}


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of the metrics; a last one that is still being written is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    try:
        return [json.loads(line) for line in lines]
    except ValueError:
        raise RunFolderError(f"{path}: is damaged; remove its folder to run it again") from None


def _about(path: Path, planned: Mapping[str, Any]) -> dict[str, Any]:
    """With what the run was made. Raises RunFolderError where its configuration is not the planned one."""
    try:
        values = read_yaml((path / "config.yaml").read_text(encoding="utf-8"))
        about = {key: values.pop(key, None) for key in ("versions", "commit", "hardware")}
    except (OSError, ValueError, yaml.YAMLError, AttributeError):
        raise RunFolderError(f"{path / 'config.yaml'}: is damaged; remove its folder to run it again") from None
    if differing := differences(values, planned, ("logdir",)):
        raise RunFolderError(f"{path}: holds a run that is not of this plan: {'; '.join(differing[:3])}; remove it")
    return about


Results = Mapping[tuple[str, str], list[Result]]


def of_arm(arm: str, results: Results) -> list[Result]:
    """The results of an arm in all environments."""
    return [run for (_, name), runs in results.items() if name == arm for run in runs]


def returns(plan: Plan, results: Results) -> dict[str, dict[str, list[float]]]:
    """The returns by arm and environment, of runs that have ended; a failed run has the lowest of its environment."""
    found: dict[str, dict[str, list[float]]] = {arm: {} for arm in plan.arms}
    for task, config in plan.tasks.items():
        worst = worst_return(task, config.low, results)
        for arm in plan.arms:
            ended = [run for run in results[task, arm] if run.state != "missing"]
            found[arm][task] = [worst if run.score is None else run.score for run in ended]
    return found


def worst_return(task: str, low: float, results: Results) -> float:
    """The lowest return of all runs of an environment, or what counts as 0 where that is less."""
    scores = [run.score for (name, _), runs in results.items() if name == task for run in runs if run.score is not None]
    return min([low, *scores])


def scored(plan: Plan, found: Mapping[str, Mapping[str, list[float]]]) -> dict[str, dict[str, list[float]]]:
    """Returns as scores: (return - low) / (high - low) of their environment."""
    return {
        arm: {
            task: [(value - plan.tasks[task].low) / (plan.tasks[task].high - plan.tasks[task].low) for value in values]
            for task, values in tasks.items()
        }
        for arm, tasks in found.items()
    }


def curves(plan: Plan, task: str, arm: str, results: Results) -> tuple[list[int], list[list[float]]]:
    """Evaluations of the runs that have ended: steps [T], returns [R, T].

    Between its evaluations a run keeps the last return; where it has none yet, and where it failed, it has the lowest
    of the environment.
    """
    ended = [run for run in results[task, arm] if run.state != "missing"]
    steps = sorted({step for run in ended for step in run.curve})
    worst = worst_return(task, plan.tasks[task].low, results)
    rows = []
    for run in ended:
        row, last = [], worst
        for step in steps:
            last = run.curve.get(step, last)
            row.append(last)
        rows.append(row)
    return steps, rows
