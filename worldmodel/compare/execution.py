"""Running a plan: several runs at a time, crashes retried once, everything continued after a kill."""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worldmodel.cli.overrides import word
from worldmodel.launch.launcher import Launcher, Started, stop_all
from worldmodel.launch.process import Program
from worldmodel.runs.atomic_file import atomic_file
from worldmodel.runs.evaluation import read_evaluation
from worldmodel.runs.folder import METRICS, RunFolder, RunFolderError
from worldmodel.runs.progress import Bar, duration

ATTEMPTS = 2  # of a run, before it counts as failed
FAILURES = "failures.json"
POLL = 0.1  # seconds between two looks at the runs
EVERY = 60.0  # seconds between two lines about runs at work
TAIL = 8192  # bytes that hold the last row of metrics
PATIENCE = 120.0  # seconds that a run gets to save itself, and that its folder is waited for


class Interrupted(Exception):
    """The comparison was asked to stop; its runs have been saved."""

    exit_code = 130


class RunRefused(Exception):
    """A run refused its input, or its machine, before it began: the comparison's fault and not its arm's."""

    exit_code = 2


@dataclass(frozen=True)
class Run:
    """A run of a plan: `python -m MODULE WORDS` with its folder, NAME within that of the comparison, as logdir."""

    name: str
    module: str
    words: tuple[str, ...]

    def program(self, folder: Path) -> Program:
        """What begins the run in a folder, which is made, or continues it."""
        folder.mkdir(parents=True, exist_ok=True)
        words = ("-m", self.module, *self.words, word("logdir", str(folder)))
        return Program(words, str(folder / "stdout.log"), str(folder / "stderr.log"))


def finished(folder: Path) -> bool:
    """Whether the run in a folder was trained and evaluated to its end. Raises RunFolderError for a damaged one."""
    evaluation = read_evaluation(folder)
    return evaluation is not None and evaluation["finished"] > 0


class Failures:
    """Why runs have crashed, by name, kept in a file so that a continued comparison knows it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FAILURES
        self.reasons: dict[str, list[str]] = {}
        if self._path.exists():
            try:
                self.reasons = {str(name): list(map(str, found)) for name, found in _object(self._path).items()}
            except (ValueError, TypeError, AttributeError):
                raise RunFolderError(
                    f"logdir={folder}: its {FAILURES} is damaged; remove it to try all again"
                ) from None

    def add(self, name: str, reason: str) -> int:
        """Note a crash; returns how often the run has crashed."""
        self.reasons.setdefault(name, []).append(reason)
        with atomic_file(self._path) as file:
            file.write(json.dumps(self.reasons, indent=1).encode() + b"\n")
        return len(self.reasons[name])

    def failed(self, name: str) -> bool:
        """Whether a run has used up its attempts."""
        return len(self.reasons.get(name, ())) >= ATTEMPTS


def _object(path: Path) -> dict[str, list[str]]:
    content: dict[str, list[str]] = json.loads(path.read_bytes())
    return content


def execute(runs: Sequence[Run], folder: Path, launcher: Launcher, workers: int, failures: Failures) -> None:
    """Bring every run to its end, or to its last crash. Raises Interrupted after an interrupt, once all are saved,
    and RunRefused.
    """
    pending = [run for run in runs if not finished(folder / run.name) and not failures.failed(run.name)]
    done = len(runs) - len(pending)
    if done:
        print(f"{folder}: {done} of {len(runs)} runs have ended before", flush=True)
    if pending:
        print(f"{len(pending)} runs to do; the first that ends tells about how long all take", flush=True)
    bar = Bar(total=len(runs), initial=done, unit=" runs", file=sys.stderr, dynamic_ncols=True, disable=None)
    active: dict[Run, tuple[Started, float]] = {}
    begun_at, before, told = time.monotonic(), done, time.monotonic()
    try:
        while pending or active:
            while pending and len(active) < workers:
                run = pending.pop(0)
                wait_until_free(folder / run.name)
                active[run] = launcher.start(run.program(folder / run.name)), time.monotonic()
            time.sleep(POLL)
            if time.monotonic() - told >= EVERY:
                told = time.monotonic()
                at_work = ", ".join(f"{run.name} at step {_step(folder / run.name)}" for run in active)
                left = _left(done - before, len(runs) - done, told - begun_at)
                bar.clear()
                print(f"[{done}/{len(runs)}] at work: {at_work}{left}", flush=True)
                bar.refresh()
            for run, (process, begun) in list(active.items()):
                if (ended := process.ended()) is None:
                    continue
                del active[run]
                minutes = (time.monotonic() - begun) / 60
                if finished(folder / run.name):
                    done += 1
                    evaluation = read_evaluation(folder / run.name)
                    assert evaluation
                    text = f"return {evaluation['mean']:.4g} ({minutes:.1f} min)"
                elif ended.code == RunRefused.exit_code:
                    raise RunRefused(f"{run.name}: {ended.reason}")
                elif failures.add(run.name, ended.told) < ATTEMPTS:
                    pending.insert(0, run)
                    text = f"crashed ({ended.told}); tried once more"
                else:
                    done += 1
                    text = f"FAILED ({ended.told})"
                left = _left(done - before, len(runs) - done, time.monotonic() - begun_at)
                bar.clear()
                print(f"[{done}/{len(runs)}] {run.name}: {text}{left}", flush=True)
                bar.update(done - bar.n)
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted after {done} of {len(runs)} runs; saved in {folder}; the same command continues"
        ) from None
    finally:
        bar.close()
        stop_all((process for process, _ in active.values()), PATIENCE)


def _left(done: int, pending: int, seconds: float) -> str:
    """What is left of the time, by the runs that have ended so far."""
    return f", about {duration(seconds / done * pending)} left" if done and pending else ""


def _step(folder: Path) -> int:
    """The step of the last whole row of a run's metrics."""
    try:
        with (folder / METRICS).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            return int(json.loads(file.read().split(b"\n")[-2])["step"])
    except (OSError, ValueError, KeyError, IndexError):  # it has none yet
        return 0


def wait_until_free(folder: Path) -> None:
    """Wait until no process owns the folder: the run of a comparison that was killed may still save itself."""
    deadline = time.monotonic() + PATIENCE
    while folder.exists():
        try:
            with RunFolder(folder):
                return
        except RunFolderError:
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL)
