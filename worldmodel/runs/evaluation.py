"""The result of an evaluation in a run's folder: evaluation.json, and the rows of evaluations.jsonl."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.envs import Episode
from worldmodel.runs.atomic_file import atomic_file, readable
from worldmodel.runs.folder import EVALUATION, RunFolderError
from worldmodel.runs.metrics import Journal

EVALUATIONS = "evaluations.jsonl"  # those of worldmodel.evaluate, a row each


def write_evaluation(
    folder: Path, played: list[Episode], step: int, checkpoint: Path, finished: int | None
) -> dict[str, Any]:
    """Write evaluation.json; returns what is in it. Its mean is null where nothing was played.

    step: that the evaluated checkpoint is from; finished: the step at which training has ended, None before that.
    """
    result = result_of(folder, played, step, checkpoint) | {"finished": finished or None}
    with atomic_file(folder / EVALUATION) as file:
        file.write(json.dumps(result, indent=1).encode() + b"\n")
    return result


def result_of(folder: Path, played: list[Episode], step: int, checkpoint: Path) -> dict[str, Any]:
    """What an evaluation brought, as it is written."""
    returns = np.array([episode.ret for episode in played])
    return {
        "returns": returns.tolist(),
        "mean": float(returns.mean()) if played else None,
        "std": float(returns.std()) if played else None,
        "episodes": len(played),
        "step": step,
        "checkpoint": str(checkpoint.relative_to(folder) if checkpoint.is_relative_to(folder) else checkpoint),
    }


def append(folder: Path, result: Mapping[str, Any]) -> None:
    """Add a row to evaluations.jsonl. Raises WriteError, and leaves no half row."""
    journal = Journal(folder / EVALUATIONS)
    try:
        journal.write(json.dumps(result).encode() + b"\n")
        journal.flush()
    finally:
        journal.close()


def told(evaluation: Mapping[str, Any], digits: int = 1) -> str:
    """What an evaluation says in a line."""
    return f" with return {evaluation['mean']:.{digits}f}" if evaluation["returns"] else ", not evaluated"


def read_evaluation(folder: Path) -> dict[str, Any] | None:
    """What is in evaluation.json, None where there is none; its mean is NaN where nothing was played.

    Raises RunFolderError when it is damaged, and ReadError when it may not be read.
    """
    file = folder / EVALUATION
    try:
        with readable(file):
            result: dict[str, Any] = json.loads(file.read_bytes())
        if (result["mean"] is None) != (not list(result["returns"])):
            raise ValueError("a mean where nothing was played, or none where something was")
        mean = float("nan") if result["mean"] is None else float(result["mean"])
        return {**result, "mean": mean, "finished": int(result.get("finished") or 0)}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, AttributeError) as error:
        raise RunFolderError(f"logdir={folder}: its {EVALUATION} is damaged; remove it to evaluate again") from error


def finished(folder: Path, steps: int, continuable: bool) -> dict[str, Any] | None:
    """The evaluation of the run in a folder if that was trained for `steps` steps, None where there is more to do.

    Raises RunFolderError for a run that has ended before and is not `continuable`: its checkpoints are gone.
    """
    done = read_evaluation(folder)
    if not done or not done["finished"] or (done["finished"] < steps and continuable):
        return None
    if done["finished"] < steps:
        raise RunFolderError(
            f"logdir={folder}: its run has finished at step {done['finished']} and has no checkpoint to continue from; "
            "give another logdir"
        )
    return done
