"""The summary of a search: its best trial, the importance of its parameters, plots, and a file that training takes."""

import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldmodel.cli.overrides import word
from worldmodel.runs.atomic_file import atomic_file
from worldmodel.runs.yaml import to_yaml
from worldmodel.search.config import as_mapping
from worldmodel.search.progress import best_trial
from worldmodel.search.study import counted, replaced

if TYPE_CHECKING:
    from optuna import Study

BEST = "best.yaml"


def summarise(study: "Study", folder: Path, objective: str, words: Sequence[str]) -> list[str]:
    """Write best.yaml and plots/; returns the lines to print. words: of training, that all trials had in common."""
    from optuna.trial import TrialState

    every = study.get_trials(deepcopy=False)
    trials = counted(every)
    best = best_trial(trials)
    counts = {state.name.lower(): sum(trial.state == state for trial in trials) for state in TrialState}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    told += f", {again} broken off and tried again" if (again := len(replaced(every))) else ""
    if best is None:
        return [f"trials: {told}; none has a value"]
    head = f"# The best of {len(trials)} trials: {objective} {best.value:.6g} of trial {best.number}.\n"
    values = as_mapping(words, best.params)
    with atomic_file(folder / BEST) as file:
        file.write((head + to_yaml(values)).encode())
    lines = [f"trials: {told}", f"best: {objective} {best.value:.6g} of trial {best.number}"]
    lines += [f"  {word(key, value)}" for key, value in best.params.items()]
    shares, written = _importance(study), _plots(study, folder / "plots")
    if shares:
        lines += ["importance (PED-ANOVA)", *(f"  {key} {share:.2f}" for key, share in shares.items())]
    lines += [f"plots: {folder / 'plots'}: {', '.join(written)}"] if written else []
    return [*lines, f"to train with the best values: python -m worldmodel.train {shlex.quote(f'@{folder / BEST}')}"]


def _importance(study: "Study") -> dict[str, float]:
    """The share of each parameter in the spread of the values; empty where trials are too few or all alike."""
    from optuna.importance import get_param_importances

    values = {trial.value for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"}
    if len(values) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Optuna's, that its interface may change
        return get_param_importances(study)


def _plots(study: "Study", folder: Path) -> list[str]:
    """Optuna's own plots, as HTML that needs no network and as PNG; returns their names."""
    import matplotlib.figure
    import optuna.visualization as html
    import optuna.visualization.matplotlib as png

    matplotlib.use("agg")
    plots: dict[str, tuple[Any, Any]] = {
        "history": (html.plot_optimization_history, png.plot_optimization_history),
        "parallel_coordinate": (html.plot_parallel_coordinate, png.plot_parallel_coordinate),
    }
    if _importance(study):
        plots["importance"] = (html.plot_param_importances, png.plot_param_importances)
    folder.mkdir(exist_ok=True)
    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, (interactive, still) in plots.items():
            interactive(study).write_html(folder / f"{name}.html", include_plotlyjs="directory")
            figure = still(study).figure
            figure.savefig(folder / f"{name}.png", dpi=120, bbox_inches="tight")
            plt.close(figure)
    return list(plots)
