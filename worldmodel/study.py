"""The study of a search in its storage: opening it, counting its trials, giving up those whose worker is gone."""

import fcntl
import json
import os
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hybrid_opt.backends.redaction import redact
from hybrid_opt.paths import user_path
from worldmodel.composition import UsageError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

    from worldmodel.patient_storage import PatientStorage

GRACE = 5  # heartbeats that may be missing
CONNECTING = 10  # seconds for a server of PostgreSQL to take a connection, where the URL says nothing of it


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


def storage_url(url: str, folder: Path) -> str:
    """The URL with its driver, or that of the SQLite file in the folder. Raises UsageError."""
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    if url == "auto":
        return URL.create("sqlite", database=str(folder / "study.db")).render_as_string()  # quoted
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # a port that is no number
        raise UsageError(
            f"storage={redact(url)}: a URL such as sqlite:///FILE or postgresql://USER@HOST/DATABASE is accepted"
        ) from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise UsageError(f"storage={url}: workers cannot share memory; sqlite:///FILE is accepted")
    if parsed.get_backend_name() == "sqlite" and str(parsed.database).startswith("~"):
        parsed = parsed.set(database=str(user_path(str(parsed.database), "storage")))
    return parsed.render_as_string(hide_password=False)


def shown(url: str) -> str:
    """A storage's URL without its password."""
    from sqlalchemy.engine import make_url

    return redact(make_url(url).render_as_string(hide_password=True))


def open_storage(url: str, heartbeat: int, unwanted: Callable[[], bool] | None = None) -> "PatientStorage":
    """Open the storage, with its tables made. Raises UsageError.

    unwanted: whether a worker was asked to stop. Workers wait for a server that is away, as it was there before.
    """
    from optuna.exceptions import ExperimentalWarning
    from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError

    from worldmodel.patient_storage import PatientStorage, never, patiently

    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        options["connect_args"] = {"timeout": 60}  # seconds that a writer waits for another
    elif url.startswith("postgresql") and "connect_timeout" not in url:
        options["connect_args"] = {"connect_timeout": CONNECTING}

    def opened() -> PatientStorage:
        return PatientStorage(
            url,
            options,
            unwanted=unwanted or never,
            heartbeat_interval=heartbeat,
            grace_period=GRACE * heartbeat,
            heartbeat_stale_trial_callback=lambda study, trial: enqueue_again(study, trial),
        )

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return opened() if unwanted is None else patiently(opened, url, unwanted)
    except NoSuchModuleError:
        raise UsageError(f"storage={shown(url)}: no such database; sqlite, postgresql or mysql is accepted") from None
    except ImportError as error:
        driver = f"{error.__cause__ or error}".partition("'")[2].partition("'")[0] or "its driver"
        extra = ': pip install "worldmodel[postgresql]"' if url.startswith("postgresql") else ""
        raise UsageError(f"storage={shown(url)}: needs {driver}{extra}") from None
    except ArgumentError as error:
        raise UsageError(f"storage={shown(url)}: {redact(' '.join(str(error).split()))}") from None
    except (OperationalError, DatabaseError) as error:
        reason = redact(" ".join(str(error.orig or error).split()))
        raise UsageError(f"storage={shown(url)}: cannot be opened: {reason}") from None
    except RuntimeError as error:  # tables of another version of Optuna
        raise UsageError(f"storage={shown(url)}: {' '.join(str(error).split())}") from None


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
