"""A trial of a search: a training run in a process of its own, watched by its worker."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from worldmodel.child import ends_with, killed_by, last_line, wait_or_kill
from worldmodel.objective import Curve, NoValue, Objective, value
from worldmodel.run_folder import METRICS, RunFolder, RunFolderError
from worldmodel.samplers import Pruner, Sampler
from worldmodel.space import Categorical, Float, Int, Parameter
from worldmodel.study import Guard, enqueue_again
from worldmodel.words import word

if TYPE_CHECKING:
    from optuna import Trial

TRAIN = (sys.executable, "-m", "worldmodel.train")
POLL = 0.2  # seconds between two looks at a run
READ = 1.0  # seconds between two readings of its curve
SAVING = 60.0  # seconds that a run gets to save itself, and that a trial waits for the run that it continues


class TrialFailed(Exception):
    """A trial has no value; the message is why."""


class Stopped(Exception):
    """The search was asked to stop, and the trial with it. It is tried again when the search continues."""

    exit_code = 130


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


class Run:
    """`python -m worldmodel.train` in a process that ends, saved, when this one does (on Linux, however it ends)."""

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        line = [*TRAIN, *words, word("logdir", str(folder))]
        with (folder / "stdout.log").open("ab") as out, (folder / "stderr.log").open("ab") as err:
            self._written = err.tell()
            self._process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=ends_with(os.getpid())
            )

    def code(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Have the run save itself and end."""
        if self._process.poll() is None:
            self._process.terminate()
            wait_or_kill(self._process, SAVING)

    def reason(self) -> str:
        """Why the run failed: its last line on stderr, or the signal that killed it."""
        code = self._process.returncode
        if code < 0:
            return killed_by(code)
        return last_line(self.folder / "stderr.log", self._written) or f"exit code {code}"


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
    run = Run(folder, [*work.words, *(word(key, chosen) for key, chosen in values.items())])
    curve = Curve(folder / METRICS, work.curve, work.interval)
    try:
        read = time.monotonic()
        while run.code() is None:
            time.sleep(POLL)
            if stopping():
                raise _stopped(trial, run, guard)
            if time.monotonic() - read >= READ:
                read = time.monotonic()
                for point, height in curve.points():
                    trial.report(height, point)
                    if trial.should_prune():
                        run.stop()
                        raise TrialPruned(f"at point {point} of {work.points}")
        if run.code() == 130 and stopping():
            raise _stopped(trial, run, guard)
        if run.code() != 0:
            raise TrialFailed(run.reason())
    finally:
        run.stop()
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


def _stopped(trial: "Trial", run: Run, guard: Guard) -> Stopped:
    run.stop()
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
