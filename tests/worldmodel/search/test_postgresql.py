"""Searches whose storage is a PostgreSQL server, which is started for them; skipped where there is none."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.worldmodel.search.postgresql import Server, server
from tests.worldmodel.search.test_inputs import search
from tests.worldmodel.search.test_kills import Search, of_search
from tests.worldmodel.search.trainings import side_by_side, stand_in, study, work
from worldmodel.cli.compose import UsageError
from worldmodel.search import trial as trial_module
from worldmodel.search.storage import open_storage, storage_url
from worldmodel.search.study import open_study


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    with server() as started:
        yield started


@pytest.fixture
def url(database: Server) -> str:
    return database.url


@pytest.mark.slow
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
def test_restarts(database: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In fast mode, in immediate mode as in a crash, and an outage longer than the grace of a heartbeat of 1 s."""
    monkeypatch.setattr(trial_module, "TRAIN", stand_in(tmp_path))
    storage = storage_url(database.url, tmp_path)
    works = [
        work(
            tmp_path,
            storage=storage,
            study="restarts",
            worker=name,
            trials=9,
            entropy=[number],
            heartbeat=1,
            words=["pause=0.2"],
        )
        for number, name in enumerate(("one", "two"))
    ]
    study = open_study(open_storage(storage, 1), "restarts", works[0].sampler.make(), works[0].pruner.make(10))
    running = threading.Thread(target=side_by_side, args=(works,))
    running.start()
    for ended, (mode, seconds) in enumerate([(signal.SIGINT, 0.0), (signal.SIGQUIT, 0.0), (signal.SIGQUIT, 8.0)], 1):
        while sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False)) < 2 * ended:
            time.sleep(0.1)
        time.sleep(0.5)
        database.stop(mode)
        time.sleep(seconds)
        database.start()
    running.join(120)
    assert not running.is_alive()
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 9


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_the_server_is_away(database: Server, tmp_path: Path, number: signal.Signals) -> None:
    words = (f"storage={database.url}", f"study=stop-{number}", "trials=2", "steps=3000", "train_ratio=0.5")
    process = Search(tmp_path / "search", *words)
    process.reach(0, 60)
    database.stop()
    begin = time.monotonic()
    try:
        time.sleep(1)
        process.process.send_signal(number)
        code, _, err = process.finish()
        seconds = time.monotonic() - begin
    finally:
        database.start()
    assert code == 130 and "Traceback" not in err and seconds < 60  # the storage alone would be waited for ten minutes
    assert err.splitlines()[-1].startswith("interrupted after 0 of 2 trials; saved in ")
    assert of_search(tmp_path / "search") == []


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
