"""Standard streams that cannot be written, and interrupts at bad moments: work is kept, exit codes are true."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worldmodel.train.runs import ENVIRONMENT, PATIENCE, TINY, ForkedRun, Starter, line_of, rows
from worldmodel.cli.standard_streams import Stream, standard_streams

WARNING = "warning: stdout cannot be written ({}); the command goes on without it\n"


class Broken(io.StringIO):
    """A stream whose reader is gone after some writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.writes = writes

    def write(self, text: str) -> int:
        self.writes -= 1
        if self.writes < 0:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)


def test_what_cannot_be_written_goes_nowhere_and_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = Broken(2), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with standard_streams():
        for number in range(3):
            print(number, flush=True)
    assert out.getvalue() == "0\n" and err.getvalue() == WARNING.format("Broken pipe")
    assert sys.stdout is out


def test_no_streams_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with standard_streams():
        print("one")
        assert not sys.stderr.isatty()


def test_characters_that_a_stream_does_not_know_are_escaped() -> None:
    raw = io.BytesIO()
    stream = Stream(io.TextIOWrapper(raw, encoding="ascii"), "stdout")
    assert stream.write("größe\n") == 6
    stream.flush()
    assert raw.getvalue() == b"gr\\xf6\\xdfe\n"


class PrintingRun(ForkedRun):
    """A forked run whose stdout is a given file, or a pipe."""

    def __init__(self, starter: Starter, out: Path, folder: Path, *words: object) -> None:
        self.folder, self._starter, self._out = folder, starter, out
        self._err = folder.with_suffix(".err")
        self._err.touch()
        line = [*TINY, *map(str, words), f"logdir={folder}"]
        self._pid = starter.ask({"words": line, "out": str(out), "err": str(self._err)})
        self._code: int | None = None

    def ended(self) -> tuple[int, str]:
        self._out = self._err  # the other is no file
        code, _, err = self.finish()
        return code, err


def finished(folder: Path) -> bool:
    return bool(json.loads((folder / "evaluation.json").read_text())["finished"])


@pytest.mark.slow
def test_a_full_disk_under_stdout(tmp_path: Path, forks: Starter) -> None:
    run = PrintingRun(forks, Path("/dev/full"), tmp_path / "run", "steps=60")
    assert run.ended() == (0, WARNING.format("No space left on device"))
    assert finished(tmp_path / "run")


def test_a_reader_that_has_seen_enough(tmp_path: Path, forks: Starter) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    seen = []
    reader = threading.Thread(target=lambda: seen.append(pipe.open().readline()))  # as `head -1` does
    reader.start()
    run = PrintingRun(forks, pipe, tmp_path / "run", "steps=60")
    assert run.ended() == (0, WARNING.format("Broken pipe"))
    reader.join()
    assert seen[0].startswith("model: ") and finished(tmp_path / "run")


@pytest.mark.slow
def test_closed_streams_and_a_closed_terminal(tmp_path: Path) -> None:
    """Files that are opened do not take their numbers; a hangup saves the run."""
    words = " ".join(f"'{word}'" for word in [*TINY, "steps=100000", f"logdir={tmp_path}"])
    line = f"exec {sys.executable} -m worldmodel.train {words} >&- 2>&-"
    with subprocess.Popen(["sh", "-c", line], env=ENVIRONMENT) as process:
        wait_for(lambda: (tmp_path / "metrics.jsonl").exists() and len(rows_so_far(tmp_path)) > 2, process)
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE) == 130
    assert rows(tmp_path) and list((tmp_path / "checkpoints").glob("step-*"))


def rows_so_far(folder: Path) -> list[str]:
    return (folder / "metrics.jsonl").read_text().splitlines()


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.05)):
        if happened():
            return
        assert process.poll() is None
        pause.wait(0.05)
    raise AssertionError("it did not happen")


def test_help_into_a_full_disk() -> None:
    with open("/dev/full", "w") as full:
        line = [sys.executable, "-m", "worldmodel.train", "--version"]
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 1 and line_of(done.stderr) == "stdout: cannot be written: No space left on device"


KILLED = """
import os, signal, time
def kill():
    try:
        os.kill(os.getpid(), signal.{signal})
        time.sleep(5)
    except BaseException as error:
        raise ImportError("numpy.core.multiarray failed to import") from error
{at_import}
from worldmodel.train.config import TrainConfig
def run(config: TrainConfig) -> int:
    kill()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("at_import", ["kill()", ""], ids=["while it is imported", "while it runs"])
def test_an_interrupt_that_imports_turn_into_something_else(tmp_path: Path, number: str, at_import: str) -> None:
    (tmp_path / "killed.py").write_text(KILLED.format(signal=number, at_import=at_import))
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from worldmodel.cli.command import command; sys.exit(command('train', 'killed:run', []))"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ENVIRONMENT['PYTHONPATH']}:{tmp_path}"}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
