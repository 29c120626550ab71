"""A storage that is away for a while, and one that answers with an error."""

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from pydantic import TypeAdapter
from sqlalchemy.exc import OperationalError, PendingRollbackError

from tests.worldmodel.search.trainings import work
from worldmodel.cli.compose import UsageError
from worldmodel.search import patient_storage, worker
from worldmodel.search.patient_storage import PatientStorage, StorageError
from worldmodel.search.storage import CONNECTING, open_storage, storage_url
from worldmodel.search.study import Stopped
from worldmodel.search.trial import TrialFailed, Work

LOST = "server closed the connection unexpectedly"


def failing(monkeypatch: pytest.MonkeyPatch, reason: str, times: int) -> None:
    """Operations of every RDBStorage fail so many times, as Optuna tells it."""
    left = [times]
    original = RDBStorage._get_trials

    def fail(self: Any, *args: Any, **kwargs: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise StorageInternalError("many lines") from OperationalError("SELECT", {}, Exception(reason))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(PatientStorage, "_get_trials", patient_storage.waiting(fail))


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> optuna.Study:
    monkeypatch.setattr(patient_storage, "PAUSES", (0.001, 0.001))
    study = optuna.create_study(storage=PatientStorage(f"sqlite:///{tmp_path / 'study.db'}"))
    study._storage._backend.url = "postgresql://me:secret@host/db"  # type: ignore[attr-defined]
    return study


def test_a_server_that_restarts_is_waited_for(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, LOST, 3)
    assert study.trials == []
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"storage=postgresql://me:***@host/db: {LOST}; waiting for it to come back",
        "storage=postgresql://me:***@host/db: it is back; the search goes on",
    ]


@pytest.mark.parametrize(("reason", "patience"), [("disk full", 600.0), (LOST, 0.0)])
def test_what_does_not_end_is_one_line(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch, reason: str, patience: float
) -> None:
    monkeypatch.setattr(patient_storage, "PATIENCE", patience)
    failing(monkeypatch, reason, 99)
    line = rf"^storage=postgresql://me:\*\*\*@host/db: {reason}; the same command continues the search$"
    with pytest.raises(StorageError, match=line) as caught:
        study.get_trials()
    assert caught.value.exit_code == 1


def test_a_damaged_study_is_one_line(tmp_path: Path) -> None:
    url = storage_url("auto", tmp_path)
    storage = open_storage(url, 60)
    optuna.create_study(storage=storage, study_name="s")
    storage.engine.dispose()
    file = tmp_path / "study.db"
    content = bytearray(file.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(Exception, match=r"^storage=sqlite:///.*study\.db: ") as caught:
        optuna.load_study(storage=open_storage(url, 60), study_name="s")
    assert caught.value.exit_code in (1, 2) and "\n" not in str(caught.value)  # type: ignore[attr-defined]


def test_folders_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "q" / "what? 100% #1"
    folder.mkdir(parents=True)
    optuna.create_study(storage=open_storage(storage_url("auto", folder), 60), study_name="s")
    assert (folder / "study.db").is_file() and [path.name for path in (tmp_path / "q").iterdir()] == [folder.name]


def test_a_tilde_in_a_url_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert storage_url("sqlite:///~/a b.db?mode=rw", Path()) == f"sqlite:///{tmp_path}/a b.db?mode=rw"
    assert storage_url("sqlite:///a~b.db", Path()) == "sqlite:///a~b.db"


def answer_lost(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The first call of an operation of every RDBStorage comes through, but its answer does not."""
    original, left = getattr(RDBStorage, name), [1]

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        answer = original(self, *args, **kwargs)
        if left[0]:
            left[0] -= 1
            raise StorageInternalError("many lines") from OperationalError("COMMIT", {}, Exception(LOST))
        return answer

    monkeypatch.setattr(RDBStorage, name, call)


def test_what_came_through_without_an_answer_is_done_once(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_lost(monkeypatch, "_create_new_trial")
    assert study.ask().number == 0
    answer_lost(monkeypatch, "_create_new_trial")
    study.enqueue_trial({"x": 0.5}, user_attrs={"continues": 0})
    answer_lost(monkeypatch, "set_trial_state_values")
    taken = study.ask()
    assert taken.number == 1 and taken.user_attrs == {"continues": 0} and taken.suggest_float("x", 0, 1) == 0.5
    answer_lost(monkeypatch, "set_trial_state_values")
    study.tell(1, 2.0)
    assert [(trial.state.name, trial.value) for trial in study.trials] == [("RUNNING", None), ("COMPLETE", 2.0)]
    assert study.trials[1].params == {"x": 0.5}


def test_a_trial_is_taken_by_one(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0.5})
    storage, running = study._storage, optuna.trial.TrialState.RUNNING
    assert storage.set_trial_state_values(study.trials[0]._trial_id, running)
    assert not storage.set_trial_state_values(study.trials[0]._trial_id, running)
    assert study.ask().number == 1


def test_a_failure_on_top_of_a_lost_connection_is_waited_for_too(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Optuna's look at trials, which asks once more on the connection that it has lost."""
    original, left = RDBStorage._get_trials, [1]

    def fail(self: Any, *args: Any, **kwargs: Any) -> Any:
        if left[0]:
            left[0] -= 1
            try:
                raise OperationalError("SELECT", {}, Exception(LOST))
            except OperationalError:
                raise PendingRollbackError("Can't reconnect until invalid transaction is rolled back.") from None
        return original(self, *args, **kwargs)

    monkeypatch.setattr(PatientStorage, "_get_trials", patient_storage.waiting(fail))
    assert study.trials == []


def test_a_stop_ends_the_wait(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_storage, "PAUSES", (600.0, 600.0))
    failing(monkeypatch, LOST, 99)
    stop = threading.Event()
    study._storage._backend.unwanted = stop.is_set  # type: ignore[attr-defined]
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Stopped, match=f"^the search was stopped while its storage was away: {LOST}$") as caught:
        study.get_trials()
    assert caught.value.exit_code == 130


def test_a_worker_that_is_stopped_while_the_storage_is_away_ends_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the middle of a trial, whose end Optuna cannot record either."""
    monkeypatch.setattr(patient_storage, "PAUSES", (600.0, 600.0))
    opened = worker.open_storage

    def as_server(*args: Any) -> Any:
        storage = opened(*args)
        storage.url = "postgresql://me:secret@host/db"
        return storage

    def lost(*_: Any) -> None:
        raise StorageInternalError("many lines") from OperationalError("SELECT", {}, Exception(LOST))

    def away(*_: Any) -> float:
        monkeypatch.setattr(RDBStorage, "set_trial_state_values", lost)
        for name in ("get_trial", "_get_trials"):
            monkeypatch.setattr(PatientStorage, name, patient_storage.waiting(lost))
        threading.Timer(0.3, os.close, [write]).start()
        raise TrialFailed("no wheel")

    monkeypatch.setattr(worker, "open_storage", as_server)
    monkeypatch.setattr(worker, "run_trial", away)
    request = TypeAdapter(Work).dump_json(work(tmp_path)) + b"\n"
    read, write = os.pipe()
    os.write(write, request)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert worker.main() == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: the search was stopped")


def test_nobody_is_given_up_for_the_time_that_the_server_was_away(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signs of life are late by the outage. Who looks waits until all that live have given some, and looks again."""
    monkeypatch.setattr(patient_storage, "SETTLED", 0.5)
    storage = study._storage._backend  # type: ignore[attr-defined]
    looks: list[float] = []

    def stale(*_: Any) -> list[int]:
        looks.append(time.monotonic())
        if len(looks) == 1:
            raise StorageInternalError("many lines") from OperationalError("SELECT", {}, Exception(LOST))
        return [7, 8] if looks[-1] < looks[0] + 0.5 else [8]

    monkeypatch.setattr(RDBStorage, "_get_stale_trial_ids", stale)
    assert storage._get_stale_trial_ids(1) == [8] and len(looks) == 3
    assert storage._get_stale_trial_ids(1) == [8] and len(looks) == 4  # without trouble one look is enough
    storage.engine.pool.dispatch.invalidate(None, None, None)  # a connection that was found broken before it was used
    assert storage._get_stale_trial_ids(1) == [8] and len(looks) == 6


def test_a_worker_waits_for_a_server_to_begin_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search has used it before; the search itself is told at once."""
    url, tries = "postgresql+psycopg://me:secret@host/db", []

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        tries.append(kwargs["connect_args"] if "connect_args" in kwargs else args[1]["connect_args"])
        if len(tries) < 3:
            raise OperationalError("SELECT", {}, Exception("connection refused"))

    monkeypatch.setattr(PatientStorage, "__init__", init)
    monkeypatch.setattr(patient_storage, "PAUSES", (0.001, 0.001))
    open_storage(url, 60, lambda: False)
    assert tries == [{"connect_timeout": CONNECTING}] * 3
    tries.clear()
    with pytest.raises(UsageError, match=r"^storage=.*: cannot be opened: connection refused$"):
        open_storage(url, 60)
