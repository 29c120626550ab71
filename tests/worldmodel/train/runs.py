"""Whole runs for tests: settings that train in seconds, in this process or in one of its own."""

import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import worldmodel
from worldmodel.cli.command import command

ROOT = Path(worldmodel.__file__).parent.parent
TINY = [
    *("device=cpu", "threads=1", "precision=float32", "prefill=40", "train_ratio=2"),
    *("batch_size=4", "batch_length=4", "behavior.horizon=2", "replay.capacity=10000"),
    *("size.deter=32", "size.hidden=16", "size.units=16", "size.depth=2", "optimizer.lr=4e-4"),
    *("eval.every=0", "eval.final_episodes=2", "env.eval_time_limit=50", "log.every=25", "log.predictions_every=0"),
]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
PATIENCE = 120.0  # seconds after which a test gives up


def train(*words: object) -> int:
    """Train in this process; returns the exit code."""
    return command("train", "worldmodel.train.run:run", [*TINY, *map(str, words)])


def evaluate(*words: object) -> int:
    """Evaluate in this process; returns the exit code."""
    return command("evaluate", "worldmodel.evaluate.run:run", ["device=cpu", "threads=1", *map(str, words)])


class Run:
    """A training run in a process of its own: `python -m worldmodel.train`."""

    def __init__(self, folder: Path, *words: object) -> None:
        self.folder = folder
        line = [sys.executable, "-m", "worldmodel.train", *TINY, *map(str, words), f"logdir={folder}"]
        self._process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        )

    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def kill(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def finish(self) -> tuple[int, str, str]:
        """Wait for the end: exit code, stdout, stderr."""
        out, err = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, out, err

    def reach(self, step: int) -> bool:
        """Wait until the run has passed `step`; False where it ended before."""
        deadline = time.monotonic() + PATIENCE
        while self.code() is None:
            if last_step(self.folder) >= step:
                return True
            assert time.monotonic() < deadline, f"step {step} not reached"
            time.sleep(0.01)
        return False


FORK = """
import contextlib, gc, json, multiprocessing, os, sys, threading
import matplotlib.figure
from worldmodel.cli.command import command
with contextlib.redirect_stdout(sys.stderr):  # a run, which loads the compiled kernels too
    assert command("train", "worldmodel.train.run:run", sys.argv[1:]) == 0
assert threading.active_count() == 1
gc.freeze()
def run(words, out, err):
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.exit(command("train", "worldmodel.train.run:run", words))
processes = {}
for request in map(json.loads, sys.stdin):
    if isinstance(request, int):
        answer = processes[request].exitcode
    else:
        process = multiprocessing.get_context("fork").Process(target=run, kwargs=request)
        process.start()
        processes[answer := process.pid] = process
    print(json.dumps(answer), flush=True)
"""


class Starter:
    """A process that has trained once, and starts runs by forking: each would take seconds to import and load all."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder, self._numbers = process, folder, itertools.count()

    def ask(self, request: Any) -> Any:
        """One request and its answer."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def run(self, folder: Path, *words: object) -> "ForkedRun":
        """Start a run."""
        return ForkedRun(self, self._folder / str(next(self._numbers)), folder, *words)


@contextmanager
def starter(folder: Path) -> Iterator[Starter]:
    """A Starter; what the runs print goes to files in a folder beside its own first run."""
    line = [sys.executable, "-c", FORK, *TINY, "steps=60", f"logdir={folder / 'first'}"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        (printed := folder / "printed").mkdir()
        yield Starter(process, printed)
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()


class ForkedRun(Run):
    """A training run in a process that a Starter has forked."""

    def __init__(self, starter: Starter, printed: Path, folder: Path, *words: object) -> None:
        self.folder, self._starter = folder, starter
        self._out, self._err = printed.with_suffix(".out"), printed.with_suffix(".err")
        self._out.touch()
        self._err.touch()
        line = [*TINY, *map(str, words), f"logdir={folder}"]
        self._pid = starter.ask({"words": line, "out": str(self._out), "err": str(self._err)})
        self._code: int | None = None

    def code(self) -> int | None:
        if self._code is None:
            self._code = self._starter.ask(self._pid)
        return self._code

    def kill(self, number: signal.Signals) -> None:
        os.kill(self._pid, number)

    def finish(self) -> tuple[int, str, str]:
        deadline = time.monotonic() + PATIENCE
        while (code := self.code()) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return code, self._out.read_text(), self._err.read_text()


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def timeless(folder: Path) -> str:
    """metrics.jsonl without what depends on the clock, its numbers as they are written."""
    return re.sub(r', "time/[^"]*": [^,}]*', "", (folder / "metrics.jsonl").read_text())


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def last_step(folder: Path) -> int:
    """The step of the last row that is written to its end, -1 where there is none."""
    file = folder / "metrics.jsonl"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return int(json.loads(lines[-1])["step"]) if lines else -1


def line_of(err: str) -> str:
    """The one line on stderr that an error is."""
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n"), err
    return err.removeprefix("error: ").rstrip("\n")
