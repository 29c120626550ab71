"""Progress of a search: lines, or a bar where there is a terminal."""

import io

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from worldmodel.search.progress import SearchProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def trial(number: int, state: TrialState, value: float | None = None, reason: str | None = None) -> FrozenTrial:
    made = optuna.trial.create_trial(
        state=state,
        value=value,
        params={"lr": 0.001},
        distributions={"lr": FloatDistribution(0, 1)},
        user_attrs={"reason": reason} if reason else {},
    )
    made.number = number
    return made


def test_lines() -> None:
    out = io.StringIO()
    progress = SearchProgress(4, out, io.StringIO())
    trials = [trial(0, TrialState.COMPLETE, 3.0)]
    progress.update(trials, 1)
    assert out.getvalue() == ""  # it ended before
    trials += [
        trial(1, TrialState.COMPLETE, 5.0),
        trial(2, TrialState.FAIL, reason="boom"),
        trial(3, TrialState.RUNNING),
    ]
    progress.update(trials, 3)
    progress.update(trials, 3)
    progress.close()
    assert out.getvalue().splitlines() == [
        "trial 1: 5.00; lr=0.001; 3/4 trials, best 5.00 of trial 1",
        "trial 2: failed: boom; lr=0.001; 3/4 trials, best 5.00 of trial 1",
    ]


def test_bar() -> None:
    out, terminal = io.StringIO(), Terminal()
    progress = SearchProgress(4, out, terminal)
    progress.update([], 0)
    progress.update([trial(0, TrialState.COMPLETE, 3.0), trial(1, TrialState.COMPLETE, 3.0)], 2)
    progress.close()
    shown = terminal.getvalue().split("\r")[-1]
    assert "2/4" in shown and "best 3.00 of trial 0" in shown
    assert out.getvalue().startswith("trial 0: 3.00; lr=0.001\n")
