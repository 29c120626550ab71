"""Programs that this one starts as processes on its machine, how they end with it, and what they said last."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Program:
    """`python WORDS`. out and err: files to which what it prints is added.

    request: a line on its stdin, which then stays open as long as the program is wanted.
    """

    words: tuple[str, ...]
    out: str
    err: str
    request: str | None = None


class Ended(NamedTuple):
    """How a program ended: its exit code, negative for a signal and None where nobody knows, and its last words."""

    code: int | None
    reason: str

    @property
    def killed(self) -> bool:
        """Whether it was ended from outside."""
        return self.code is None or self.code < 0 or self.code == 130

    @property
    def told(self) -> str:
        """Why it failed, in words."""
        if self.code is None or self.code < 0:
            return self.reason
        return f"exit code {self.code}: {self.reason or 'nothing on stderr'}"


class Child:
    """A program as a child process. It is asked to stop when this process ends (on Linux, however that ends).

    own_session: Ctrl-C reaches it through this process alone, and `kill` ends all that it has started.
    """

    def __init__(
        self,
        program: Program,
        own_session: bool = True,
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._err, self._own_session = Path(program.err), own_session
        with open(program.out, "ab") as out, self._err.open("ab") as err:
            self._written = err.tell()
            self._process = subprocess.Popen(
                [sys.executable, *program.words],
                stdin=subprocess.DEVNULL if program.request is None else subprocess.PIPE,
                stdout=out,
                stderr=err,
                cwd=folder,
                env=environment,
                start_new_session=own_session,
                preexec_fn=_ends_with(os.getpid()),
            )
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # how it ended is told by `ended`
                self._process.stdin.write(f"{program.request}\n".encode())
                self._process.stdin.flush()

    def ended(self) -> Ended | None:
        """How it ended, None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        if code < 0:
            self.kill()  # what it has started goes with it
            return Ended(code, f"killed by {signal.Signals(-code).name}")
        return Ended(code, _last_line(self._err, self._written))

    def stop(self) -> None:
        """Ask it to save itself and to end."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        elif self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        if self._own_session:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # the group lives as long as one of its processes
        elif self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def _ends_with(parent: int) -> Callable[[], None] | None:
    """What a child does first: ask the kernel for SIGTERM when the parent has ended. Only Linux offers it."""
    libc = _LIBC
    if libc is None:
        return None

    def ask() -> None:
        libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it has ended before
            os._exit(1)

    return ask


def _last_line(log: Path, written: int) -> str:
    """The last line that is not empty behind so many bytes of a log, without `error: `; empty where there is none."""
    with log.open("rb") as file:
        file.seek(written)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return next((line.removeprefix("error: ") for line in reversed(lines) if line), "")
