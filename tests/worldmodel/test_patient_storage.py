"""A storage that is away for a while, and one that answers with an error."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import OperationalError

from worldmodel import patient_storage
from worldmodel.patient_storage import PatientStorage, StorageError
from worldmodel.study import open_storage, storage_url

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
