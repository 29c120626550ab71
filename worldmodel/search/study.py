"""The study of a search in its storage: opening it, counting its trials, giving up those whose worker is gone."""

import fcntl
import json
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial


class Stopped(Exception):
    """The search was asked to stop, and a trial with it. The trial is tried again when the search continues."""

    exit_code = 130


class Guard:
    """A lock between the processes of a search on one machine: one at a time chooses a trial, or gives one up.

    It ends with its process, and a process that holds it may ask for it again.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / "guard", os.O_RDWR | os.O_CREAT, 0o644)

    def acquire(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def open_study(storage: "RDBStorage", name: str, sampler: "BaseSampler", pruner: "BasePruner") -> "Study":
    """The study of the name, created where it is missing."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    return optuna.create_study(
        storage=storage,
        study_name=name,
        sampler=sampler,
        pruner=pruner,
        direction="maximize",
        load_if_exists=True,
    )


def replaced(trials: list["FrozenTrial"]) -> set[int]:
    """The numbers of trials that were broken off and that others continue."""
    return {trial.user_attrs["continues"] for trial in trials if "continues" in trial.user_attrs}


def counted(trials: list["FrozenTrial"]) -> list["FrozenTrial"]:
    """The trials that count: begun, and not replaced by another."""
    from optuna.trial import TrialState

    gone = replaced(trials)
    return [trial for trial in trials if trial.state != TrialState.WAITING and trial.number not in gone]


def enqueue_again(study: "Study", trial: "FrozenTrial") -> None:
    """Have the values of a trial tried again, once; the new trial continues the run of the old one."""
    if trial.number not in replaced(study.get_trials(deepcopy=False)):
        attributes = {"continues": trial.number, "owner": trial.user_attrs.get("owner", "")}
        study.enqueue_trial(dict(trial.params), user_attrs=attributes)


def give_up(
    study: "Study",
    storage: "RDBStorage",
    guard: Guard,
    gone: Callable[["FrozenTrial"], bool],
    reason: str,
    again: bool,
) -> list[int]:
    """Record as failed the running trials whose worker is gone; returns their numbers. again: queue their values."""
    from optuna.trial import TrialState

    numbers = []
    with guard:  # nobody on this machine is between asking for a trial and claiming it
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if gone(trial):
                storage.set_trial_user_attr(trial._trial_id, "reason", reason)
                if again:
                    enqueue_again(study, trial)
                study.tell(trial.number, state=TrialState.FAIL)
                numbers.append(trial.number)
    return numbers


def unclaimed(trial: "FrozenTrial", patience: float) -> bool:
    """Whether no worker has claimed a running trial for so many seconds: it was killed while it chose values."""
    begun = trial.datetime_start
    return "worker" not in trial.user_attrs and (
        patience == 0 or begun is None or (datetime.now() - begun).total_seconds() > patience
    )


def claim(study: "Study", config: Mapping[str, Any]) -> dict[str, Any]:
    """Put a configuration into a study that has none; returns the one that it has."""
    if "config" not in study.user_attrs:
        study.set_user_attr("config", json.dumps(config))
    found: dict[str, Any] = json.loads(study.user_attrs["config"])
    return found
