"""Standard streams that may fail: a command goes on when its reader is gone, its terminal closed or its disk full."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Stream:
    """Text to a stream. Once that cannot be written, all that follows goes nowhere; of stdout, stderr says so once.

    Everything but writing is that of the stream.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self.stream, self.name = stream, name
        self.lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write; returns the number of characters."""
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            encoding = self.stream.encoding
            self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError) as error:  # ValueError: it was closed
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Write what waits."""
        try:
            self.stream.flush()
        except (OSError, ValueError) as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        if self.lost:
            return
        self.lost = True
        nowhere(self.stream)
        if self.name == "stdout":  # stderr would have nowhere to tell it
            reason = getattr(error, "strerror", None) or error
            print(f"warning: stdout cannot be written ({reason}); the command goes on without it", file=sys.stderr)


def nowhere(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere, so that the interpreter does not fail over it when it ends."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Have stdout and stderr that never fail, for the length of a command. Closed ones are opened on nothing.

    Else the next file that is opened would have their number, and what is printed would end up in it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    out, err = (stream or open(os.devnull, "w") for stream in before)  # noqa: SIM115 - as long as the process
    sys.stdout, sys.stderr = Stream(out, "stdout"), Stream(err, "stderr")
    try:
        yield
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        sys.stdout, sys.stderr = before
