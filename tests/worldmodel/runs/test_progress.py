"""Progress: lines with rates and time left where there is no terminal, a bar where there is one, a final summary."""

import io
import threading
import time

import numba
import pytest

from worldmodel.kernels.compiling import SAID, compilations_said
from worldmodel.runs.progress import Progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_without_a_terminal() -> None:
    clock, out, terminal = Clock(), io.StringIO(), io.StringIO()
    progress = Progress(1000, every=10.0, out=out, terminal=terminal, clock=clock)
    for step in range(1, 101):
        clock.now += 0.25
        progress.update(step, updates=step // 2, episode_return=step if step % 30 == 0 else None)
    progress.update(110, 55, eval_return=7.25)
    assert out.getvalue().splitlines() == [
        "40/1000 steps (4 %), 4.0 steps/s, 2.0 updates/s, return 30.0, 0:04:00 left",
        "80/1000 steps (8 %), 4.0 steps/s, 2.0 updates/s, return 60.0, 0:03:50 left",
    ]
    progress.note("a note")
    progress.close()
    assert out.getvalue().splitlines()[2:] == ["a note"]
    assert progress.summary() == (
        "110/1000 steps, 110 of them in 0:00:25, 4.4 steps/s, 2.2 updates/s, return 90.0, eval 7.2"
    )
    assert terminal.getvalue() == ""


def test_a_continued_run_counts_its_own_steps() -> None:
    clock, out = Clock(), io.StringIO()
    progress = Progress(1000, step=500, updates=100, every=10.0, out=out, terminal=io.StringIO(), clock=clock)
    clock.now = 10.0
    progress.update(600, 150)
    assert out.getvalue() == "600/1000 steps (60 %), 10.0 steps/s, 5.0 updates/s, 0:00:40 left\n"
    assert progress.summary() == "600/1000 steps, 100 of them in 0:00:10, 10.0 steps/s, 5.0 updates/s"


def test_a_line_while_nothing_moves() -> None:
    clock, out = Clock(), io.StringIO()
    progress = Progress(10, every=1.0, out=out, terminal=io.StringIO(), clock=clock)
    clock.now = 2.0
    progress.update(0, 0)
    assert out.getvalue() == "0/10 steps (0 %), 0.0 steps/s, 0.0 updates/s\n"


def test_bar_on_a_terminal() -> None:
    clock, out, terminal = Clock(), io.StringIO(), Terminal()
    threads = set(threading.enumerate())
    progress = Progress(100, step=20, updates=40, out=out, terminal=terminal, clock=clock)
    for step in range(21, 101):
        clock.now += 0.1
        progress.update(step, 2 * step, episode_return=3.5)
    progress.note("a note")
    progress.close()
    bar = terminal.getvalue()
    assert "20/100" in bar and "100/100" in bar and "return 3.5" in bar and "20.0 updates/s" in bar
    assert 25 <= bar.count("updates/s") <= 45  # every other update is drawn
    assert out.getvalue() == "a note\n"
    assert set(threading.enumerate()) <= threads  # no thread of the bar: workers are forked


def test_standard_streams(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(10)
    progress.note("a note")
    progress.close()
    assert capsys.readouterr() == ("a note\n", "")


@pytest.mark.parametrize("terminal", [io.StringIO(), Terminal()])
def test_time_left_knows_nothing_of_compiling(terminal: io.StringIO) -> None:
    """Half a minute for kernels, then 10 steps a second: what is left is at that pace."""
    clock, out = Clock(), io.StringIO()
    progress = Progress(1000, every=10.0, out=out, terminal=terminal, clock=clock)
    clock.now += 30.0
    progress.leave_out(30.0)
    for step in range(1, 102):
        clock.now += 0.1
        progress.update(step, updates=step)
    if isinstance(terminal, Terminal):
        assert progress._bar is not None and progress._bar.start_t > time.time() + 25
    else:
        assert out.getvalue().startswith("100/1000 steps (10 %), 10.0 steps/s, 10.0 updates/s, 0:01:30 left")
    progress.close()


def test_compiling_is_said_once_before_it_begins() -> None:
    said: list[object] = []
    one, two = (numba.njit(function) for function in (lambda x: x + 1, lambda x: x + 2))
    with compilations_said(said.append, said.append):
        assert (one(1), two(1), one(2)) == (2, 3, 3)
    assert said[0] == SAID and len(said) == 3 and all(isinstance(seconds, float) for seconds in said[1:])
    with compilations_said(said.append):
        assert one(3) == 4
    assert len(said) == 3  # nothing was compiled
