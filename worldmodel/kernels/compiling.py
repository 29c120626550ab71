"""What is said of kernels that are compiled: the first run after an installation waits for them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from numba.core import event

SAID = "compiling kernels for this processor: once after an installation, up to a minute"


class _Listener(event.Listener):
    """Says the first compilation of the thread that made it, and how long each took."""

    def __init__(self, say: Callable[[str], None], took: Callable[[float], None]) -> None:
        self._say, self._took = say, took
        self._thread, self._depth, self._said, self._begun = threading.get_ident(), 0, False, 0.0

    def on_start(self, event: event.Event) -> None:
        if threading.get_ident() != self._thread:
            return
        if not self._said:
            self._said = True
            self._say(SAID)
        if self._depth == 0:
            self._begun = time.monotonic()
        self._depth += 1

    def on_end(self, event: event.Event) -> None:
        if threading.get_ident() == self._thread:
            self._depth -= 1
            if self._depth == 0:
                self._took(time.monotonic() - self._begun)


@contextmanager
def compilations_said(say: Callable[[str], None], took: Callable[[float], None] = lambda _: None) -> Iterator[None]:
    """Say a line before the first kernel is compiled that is not in the cache; tell `took` the seconds of each."""
    with event.install_listener("numba:compile", _Listener(say, took)):
        yield
