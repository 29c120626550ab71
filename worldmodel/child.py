"""Processes of this project that are started by another one: how they end with it, and what they said last."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def ends_with(parent: int) -> Callable[[], None] | None:
    """What a child does first: ask the kernel for SIGTERM when the parent has ended. Only Linux offers it."""
    libc = _LIBC
    if libc is None:
        return None

    def ask() -> None:
        libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it has ended before
            os._exit(1)

    return ask


def wait_or_kill(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Wait until a process has ended; kill it where that takes longer."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def killed_by(code: int) -> str:
    """The signal of a negative exit code, in words."""
    return f"killed by {signal.Signals(-code).name}"


def last_line(log: Path, written: int) -> str:
    """The last line that is not empty behind so many bytes of a log, without `error: `; empty where there is none."""
    with log.open("rb") as file:
        file.seek(written)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return next((line.removeprefix("error: ") for line in reversed(lines) if line), "")
