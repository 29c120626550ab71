"""Searches whose storage is a PostgreSQL server, which is started for them; skipped where there is none."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.worldmodel.postgresql import server
from tests.worldmodel.test_search_inputs import search
from tests.worldmodel.trainings import side_by_side, stand_in, study, work
from worldmodel import trial as trial_module
from worldmodel.composition import UsageError
from worldmodel.study import open_storage, storage_url


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server() as address:
        yield address


def test_workers_of_two_machines(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own folder, the study is one. Two machines may begin a trial too many, never one twice."""
    monkeypatch.setattr(trial_module, "TRAIN", stand_in(tmp_path))
    storage = storage_url(url, tmp_path)
    assert storage.startswith("postgresql+psycopg://tester:secret@")
    folders = [tmp_path / name for name in ("one", "two")]
    works = [
        work(tmp_path, storage=storage, folder=str(folder), worker=folder.name, trials=6, entropy=[number])
        for number, folder in enumerate(folders)
    ]
    open_storage(storage, 60)
    side_by_side(works)
    trials = study(works[0]).trials
    assert 6 <= len(trials) <= 7 and all(trial.state == TrialState.COMPLETE for trial in trials)
    numbers = [int(path.name) for folder in folders for path in (folder / "trials").iterdir()]
    assert sorted(numbers) == list(range(len(trials)))


def test_what_cannot_be_opened(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tester:\*\*\*@.*/none: cannot be opened: .*does not exist"):
        open_storage(storage_url(url.removesuffix("postgres") + "none", tmp_path), 60)


@pytest.mark.slow
def test_a_whole_search(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (f"storage={url}", "trials=2", "steps=60", f"logdir={tmp_path / 'search'}")
    assert search(*words) == 0
    out = capsys.readouterr().out
    assert "trials: 2 complete" in out and "secret" not in out
    assert "secret" not in (tmp_path / "search" / "config.yaml").read_text()
    assert not (tmp_path / "search" / "study.db").exists()
    assert search(*words) == 0 and "continuing with 2 of 2 trials" in capsys.readouterr().out
    other = (*words[:-1], "seed=1", f"study=search logdir={tmp_path / 'other'}")
    assert search(*" ".join(other).split()) == 2
    assert "holds a study of another configuration under this name: seed was 0, is 1" in capsys.readouterr().err
