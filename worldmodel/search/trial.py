"""A trial of a search: a training run in a process of its own, watched by its worker."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from worldmodel.cli.overrides import word
from worldmodel.launch.launcher import stop_all
from worldmodel.launch.process import Child, Program
from worldmodel.runs.folder import METRICS, RunFolder, RunFolderError
from worldmodel.search.objective import Curve, NoValue, Objective, value
from worldmodel.search.samplers import Pruner, Sampler
from worldmodel.search.space import Categorical, Float, Int, Parameter
from worldmodel.search.study import Guard, Stopped, enqueue_again

if TYPE_CHECKING:
    from optuna import Trial

TRAIN = ("-m", "worldmodel.train")
POLL = 0.2  # seconds between two looks at a run
READ = 1.0  # seconds between two readings of its curve
SAVING = 60.0  # seconds that a run gets to save itself, and that a trial waits for the run that it continues


class TrialFailed(Exception):
    """A trial has no value; the message is why."""


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class Work:
    """What a worker does: plain values, so that they can be sent to another machine."""

    storage: str
    study: str
    folder: str  # of the search; trials/NUMBER in it are the runs
    owner: str  # the command that started the worker, by its host and folder
    worker: str
    entropy: tuple[int, ...]  # what tells the worker's random numbers from those of others
    trials: int
    heartbeat: int
    words: tuple[str, ...]  # of training, for every trial
    space: dict[str, Parameter]
    sampler: Sampler
    pruner: Pruner
    objective: Objective
    curve: str
    interval: int  # steps between points of the curve
    points: int


def run_trial(trial: "Trial", work: Work, guard: Guard, stopping: Callable[[], bool]) -> float:
    """Choose the values, train with them, and return what the run is worth.

    The guard is held by the caller and released once the values are chosen. Raises TrialFailed, TrialPruned or Stopped.
    """
    from optuna import TrialPruned

    values = {key: suggest(trial, key, parameter) for key, parameter in work.space.items()}
    folder = Path(work.folder) / "trials" / str(trial.number)
    about = {"owner": work.owner, "host": os.uname().nodename, "folder": str(folder), "worker": work.worker}
    for key, text in about.items():
        trial.set_user_attr(key, text)
    guard.release()
    if (before := trial.user_attrs.get("continues")) is not None:
        _take_over(folder.with_name(str(before)), folder)
    folder.mkdir(parents=True, exist_ok=True)
    words = (*TRAIN, *work.words, *(word(key, chosen) for key, chosen in values.items()), word("logdir", str(folder)))
    run = Child(Program(words, str(folder / "stdout.log"), str(folder / "stderr.log")), own_session=False)
    curve = Curve(folder / METRICS, work.curve, work.interval)
    try:
        read = time.monotonic()
        while (ended := run.ended()) is None:
            time.sleep(POLL)
            if stopping():
                raise _stopped(trial, run, guard)
            if time.monotonic() - read >= READ:
                read = time.monotonic()
                for point, height in curve.points():
                    trial.report(height, point)
                    if trial.should_prune():
                        raise TrialPruned(f"at point {point} of {work.points}")
        if ended.code == 130 and stopping():
            raise _stopped(trial, run, guard)
        if ended.code != 0:
            raise TrialFailed(ended.reason or f"exit code {ended.code}")
    finally:
        stop_all([run], SAVING)
    for point, height in curve.points(ended=True):
        trial.report(height, point)
    try:
        return value(work.objective, folder, work.curve)
    except NoValue as error:
        raise TrialFailed(str(error)) from error


def suggest(trial: "Trial", key: str, parameter: Parameter) -> Any:
    """The trial's value of a parameter."""
    match parameter:
        case Categorical():
            return trial.suggest_categorical(key, parameter.choices)
        case Float():
            return trial.suggest_float(key, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
        case Int():
            return trial.suggest_int(key, parameter.low, parameter.high, step=parameter.step, log=parameter.log)


def _stopped(trial: "Trial", run: Child, guard: Guard) -> Stopped:
    stop_all([run], SAVING)
    with guard:
        trial.set_user_attr("reason", "the search was stopped")
        enqueue_again(trial.study, trial.study.get_trials(deepcopy=False)[trial.number])
    return Stopped("the search was stopped")


def _take_over(before: Path, folder: Path) -> None:
    """Move the run of a trial that was broken off to that of its successor, once its process has ended."""
    deadline = time.monotonic() + SAVING
    while before.is_dir() and not folder.exists():
        try:
            with RunFolder(before):
                pass
        except RunFolderError:
            if time.monotonic() > deadline:
                return  # what is there cannot be continued: the successor begins anew
            time.sleep(POLL)
        else:
            if before.is_dir():
                before.rename(folder)
