"""Progress of a search: a bar over its trials on a terminal, a line for each trial elsewhere."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from worldmodel.runs.progress import Bar

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class SearchProgress:
    """Shows which trials have ended, and the best value so far."""

    def __init__(self, total: int, out: TextIO | None = None, terminal: TextIO | None = None) -> None:
        self._total, self._out = total, out or sys.stdout
        terminal = terminal or sys.stderr
        self._bar = Bar(total=total, unit=" trials", file=terminal, dynamic_ncols=True) if terminal.isatty() else None
        self._told: set[int] | None = None

    def update(self, trials: "Sequence[FrozenTrial]", done: int) -> None:
        """Tell all trials, and how many that count have ended. What ended before the first call is not told."""
        ended = {trial.number for trial in trials if trial.state.is_finished()}
        best = best_trial(trials)
        news = [] if self._told is None else [trial for trial in trials if trial.number in ended - self._told]
        self._told = ended
        for trial in news:
            line = f"trial {trial.number}: {outcome(trial)}; {setting(trial.params)}"
            if self._bar is None:
                about = f", best {best.value:.2f} of trial {best.number}" if best else ""
                print(f"{line}; {done}/{self._total} trials{about}", file=self._out, flush=True)
            else:
                self._bar.clear()
                print(line, file=self._out, flush=True)
        if self._bar is not None:
            self._bar.set_postfix_str(f"best {best.value:.2f} of trial {best.number}" if best else "", refresh=False)
            self._bar.n = done
            self._bar.refresh()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()


def best_trial(trials: "Sequence[FrozenTrial]") -> "FrozenTrial | None":
    """The trial of the highest value among those that were completed, the first of equals."""
    from optuna.trial import TrialState

    completed = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    return max(completed, key=lambda trial: trial.value or 0.0, default=None)


def outcome(trial: "FrozenTrial") -> str:
    """How a trial ended, in words."""
    from optuna.trial import TrialState

    match trial.state:
        case TrialState.COMPLETE:
            return f"{trial.value:.2f}"
        case TrialState.PRUNED:
            return f"pruned at {trial.value:.2f}" if trial.value is not None else "pruned"
        case _:
            return f"failed: {trial.user_attrs.get('reason', 'its worker gave no more signs of life')}"


def setting(params: dict[str, Any]) -> str:
    """A trial's values in words."""
    return ", ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in params.items()
    )
