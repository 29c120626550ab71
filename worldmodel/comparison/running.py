"""Running a plan: several training processes at a time, crashes retried once, everything continued after a kill."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from worldmodel.atomic_file import atomic_file
from worldmodel.child import ends_with, killed_by, last_line, wait_or_kill
from worldmodel.evaluation import read_evaluation
from worldmodel.run_folder import RunFolder, RunFolderError
from worldmodel.words import word

ATTEMPTS = 2  # of a run, before it counts as failed
FAILURES = "failures.json"
POLL = 0.1  # seconds between two looks at the runs
PATIENCE = 120.0  # seconds that a run gets to save itself, and that its folder is waited for


class Interrupted(Exception):
    """The comparison was asked to stop; its runs have been saved."""

    exit_code = 130


@plain_dataclass(frozen=True)
class Run:
    """A run of a plan: `python -m MODULE WORDS` with its folder, NAME within that of the comparison, as logdir."""

    name: str
    module: str
    words: tuple[str, ...]


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class LocalConfig:
    """Processes on this machine."""

    name: Literal["local"]

    def start(self, run: Run, folder: Path) -> "Process":
        """Begin a run, or continue it."""
        return Process(run.module, run.words, folder)


class Process:
    """A run in a session of its own, so that Ctrl-C reaches it through the comparison alone.

    It saves itself and ends when this process does (on Linux, however that ends).
    """

    def __init__(self, module: str, words: Sequence[str], folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        line = [sys.executable, "-m", module, *words, word("logdir", str(folder))]
        with (folder / "stdout.log").open("ab") as out, (folder / "stderr.log").open("ab") as err:
            self._written = err.tell()
            self._process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=ends_with(os.getpid()),
            )

    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Have it save itself and end."""
        if self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait until it has ended; kill it where that takes too long."""
        wait_or_kill(self._process, PATIENCE)

    def reason(self) -> str:
        """Why it failed: the signal that killed it, or its last line on stderr."""
        code = self._process.returncode
        if code < 0:
            return killed_by(code)
        return f"exit code {code}: {last_line(self._folder / 'stderr.log', self._written) or 'nothing on stderr'}"


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


def execute(runs: Sequence[Run], folder: Path, launcher: LocalConfig, workers: int, failures: Failures) -> None:
    """Bring every run to its end, or to its last crash. Raises Interrupted after an interrupt, once all are saved."""
    pending = [run for run in runs if not finished(folder / run.name) and not failures.failed(run.name)]
    done = len(runs) - len(pending)
    if done:
        print(f"{folder}: {done} of {len(runs)} runs have ended before", flush=True)
    active: dict[Run, tuple[Process, float]] = {}
    try:
        while pending or active:
            while pending and len(active) < workers:
                run = pending.pop(0)
                wait_until_free(folder / run.name)
                active[run] = launcher.start(run, folder / run.name), time.monotonic()
            time.sleep(POLL)
            for run, (process, begun) in list(active.items()):
                if process.code() is None:
                    continue
                del active[run]
                minutes = (time.monotonic() - begun) / 60
                if finished(folder / run.name):
                    done += 1
                    evaluation = read_evaluation(folder / run.name)
                    assert evaluation
                    text = f"return {evaluation['mean']:.1f} ({minutes:.1f} min)"
                elif failures.add(run.name, process.reason()) < ATTEMPTS:
                    pending.insert(0, run)
                    text = f"crashed ({process.reason()}); tried once more"
                else:
                    done += 1
                    text = f"FAILED ({process.reason()})"
                print(f"[{done}/{len(runs)}] {run.name}: {text}", flush=True)
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted after {done} of {len(runs)} runs; saved in {folder}; the same command continues"
        ) from None
    finally:
        for process, _ in active.values():
            process.ask_to_stop()
        for process, _ in active.values():
            process.wait()


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
