"""Progress of a run: a bar on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TextIO

from tqdm import tqdm

_REFRESH = 0.2  # seconds between two pictures of the bar


class Bar(tqdm):  # it iterates over nothing
    """A bar on a terminal."""

    monitor_interval = 0  # no thread that watches over the bar: workers are forked


class Progress:
    """Shows where a run is, how fast it goes and when it will end.

    On a terminal a bar on stderr; where stderr is none, a line on stdout every `every` seconds, for logs. `update`
    costs a look at the clock, so it can be called on every step.
    """

    def __init__(
        self,
        steps: int,
        step: int = 0,
        updates: int = 0,
        every: float = 10.0,
        out: TextIO | None = None,
        terminal: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps, self._step, self._updates = steps, step, updates
        self._out = out or sys.stdout
        terminal = terminal or sys.stderr
        self._bar = None
        if terminal.isatty():
            self._bar = Bar(
                total=steps, initial=step, unit=" steps", file=terminal, dynamic_ncols=True, mininterval=0.0, miniters=1
            )
        self._interval = every if self._bar is None else _REFRESH
        self._clock = clock
        self._first = self._last = (clock(), step, updates)
        self._returns: dict[str, float] = {}

    def update(
        self, step: int, updates: int, episode_return: float | None = None, eval_return: float | None = None
    ) -> None:
        """Tell the steps and updates of the whole run so far, and the returns that are new."""
        self._step, self._updates = step, updates
        if episode_return is not None:
            self._returns["return"] = episode_return
        if eval_return is not None:
            self._returns["eval"] = eval_return
        now = self._clock()
        if now - self._last[0] >= self._interval:
            self._show(now)

    def leave_out(self, seconds: float) -> None:
        """Let the rates and the time left know nothing of seconds in which the run waited, for kernels to compile."""
        then, step, updates = self._last
        self._last = (then + seconds, step, updates)
        if self._bar is not None:
            self._bar.start_t += seconds
            self._bar.last_print_t += seconds

    def note(self, text: str) -> None:
        """Print a line without breaking the bar."""
        if self._bar is None:
            print(text, file=self._out, flush=True)
        else:
            self._bar.clear()
            print(text, file=self._out, flush=True)
            self._bar.refresh()

    def close(self) -> None:
        """Let the bar end where the run is."""
        if self._bar is not None:
            self._bar.update(self._step - self._bar.n)
            self._bar.close()

    def summary(self) -> str:
        """The last line: what was done since the start of this process, and the last returns."""
        start, step, updates = self._first
        seconds = self._clock() - start
        done = f"{self._step}/{self._steps} steps, {self._step - step} of them in {duration(seconds)}"
        rates = _rates(self._step - step, self._updates - updates, seconds)
        return ", ".join([done, *rates, *self._texts()])

    def _show(self, now: float) -> None:
        then, step, updates = self._last
        self._last = (now, self._step, self._updates)
        steps_rate, updates_rate = _rates(self._step - step, self._updates - updates, now - then)
        if self._bar is None:
            percent = f"{100 * self._step / max(self._steps, 1):.0f} %"
            speed = (self._step - step) / (now - then)
            left = [f"{duration((self._steps - self._step) / speed)} left"] if speed else []
            parts = [f"{self._step}/{self._steps} steps ({percent})", steps_rate, updates_rate, *self._texts(), *left]
            print(", ".join(parts), file=self._out, flush=True)
        else:
            self._bar.set_postfix_str(", ".join([updates_rate, *self._texts()]), refresh=False)
            self._bar.update(self._step - self._bar.n)

    def _texts(self) -> list[str]:
        return [f"{name} {value:.1f}" for name, value in self._returns.items()]


def _rates(steps: int, updates: int, seconds: float) -> list[str]:
    seconds = max(seconds, 1e-9)
    return [f"{steps / seconds:.1f} steps/s", f"{updates / seconds:.1f} updates/s"]


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds))) if seconds < 1e13 else "an age"  # beyond what a timedelta holds
