"""Searches whose processes are killed: `python -m worldmodel.search` with real training runs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState

from tests.worldmodel.train.runs import ENVIRONMENT, ROOT, TINY, last_step
from worldmodel.cli.command import command
from worldmodel.search import run as searching

HERE = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
PATIENCE = 300.0  # seconds after which a test gives up
WORDS = [*TINY, "sampler=random", "space=empty", "space.behavior.entropy={type:float,low:1e-5,high:1e-3,log:true}"]


class Search:
    """`python -m worldmodel.search` in a process of its own, in a session of its own."""

    def __init__(self, folder: Path, *words: object) -> None:
        self.folder = folder
        line = [sys.executable, "-m", "worldmodel.search", *WORDS, *map(str, words), f"logdir={folder}"]
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=HERE, start_new_session=True
        )

    def finish(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    def wait_for(self, what: Callable[[], Any]) -> Any:
        """Wait until something is so, while the search runs."""
        deadline = time.monotonic() + PATIENCE
        while not (answer := what()):
            assert self.process.poll() is None, self.finish()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return answer

    def reach(self, number: int, step: int) -> None:
        """Wait until a trial has passed a step."""
        self.wait_for(lambda: last_step(self.folder / "trials" / str(number)) >= step)

    def trials(self) -> list[FrozenTrial]:
        return trials(self.folder)

    def workers(self) -> list[psutil.Process]:
        return [
            child
            for child in psutil.Process(self.process.pid).children()
            if "worldmodel.search.worker" in child.cmdline()
        ]


def trials(folder: Path) -> list[FrozenTrial]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder / 'study.db'}").trials


def _is_worker(process: psutil.Process) -> bool:
    return process.is_running() and "worldmodel.search.worker" in process.cmdline()


def of_search(folder: Path) -> list[psutil.Process]:
    """The processes that train in a search's folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder / "trials") in word for word in process.info["cmdline"] or [])
    ]


@pytest.mark.slow
def test_kills(tmp_path: Path) -> None:
    """A worker is killed: its trial alone is lost. The command is killed: the same command continues its trials."""
    folder = tmp_path / "search"
    words = ("trials=4", "workers=2", "steps=800", "train_ratio=0.5", "checkpoint.minutes=0.01")
    search = Search(folder, *words)
    search.reach(0, 60)
    first, _ = search.workers()
    first.kill()
    (lost,) = search.wait_for(lambda: [trial for trial in search.trials() if trial.state == TrialState.FAIL])
    assert lost.user_attrs["reason"] == "its worker was killed by SIGKILL"
    search.wait_for(lambda: len(search.workers()) == 2 and first.pid not in [child.pid for child in search.workers()])
    search.reach(2, 60)
    running = [trial.number for trial in search.trials() if trial.state == TrialState.RUNNING]
    os.kill(search.process.pid, signal.SIGKILL)
    search.finish()
    deadline = time.monotonic() + PATIENCE
    while of_search(folder):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    saved = [number for number in running if any((folder / "trials" / str(number) / "checkpoints").glob("step-*"))]
    assert saved

    search = Search(folder, *words)
    code, out, err = search.finish()
    assert code == 0, err
    assert "continuing with 1 of 4 trials" in out or "continuing with 2 of 4 trials" in out
    after = search.trials()
    again = {trial.user_attrs["continues"]: trial for trial in after if "continues" in trial.user_attrs}
    assert sorted(again) == running
    for number, trial in again.items():
        assert after[number].state == TrialState.FAIL and trial.params == after[number].params
        assert trial.state == TrialState.COMPLETE and not (folder / "trials" / str(number)).exists()
        told = (folder / "trials" / str(trial.number) / "stdout.log").read_text()
        assert number not in saved or "continuing at step" in told or "finished with return" in told
    gone = {*again, lost.number}
    done = [trial for trial in after if trial.number not in gone]
    assert len(done) == 3 and all(trial.state == TrialState.COMPLETE for trial in done)


@pytest.mark.slow
def test_an_interrupt_waits_until_the_database_has_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered, ask = [], searching.Search._show

    def interrupted(search: searching.Search) -> int:
        signal.raise_signal(signal.SIGINT)
        answered.append(ask(search))
        return answered[-1]

    monkeypatch.setattr(searching.Search, "_show", interrupted)
    words = [*WORDS, "trials=1", "steps=3000", f"logdir={tmp_path / 'search'}"]
    assert command("search", "worldmodel.search.run:run", words) == 130
    assert answered == [0] and capsys.readouterr().err.startswith("interrupted after 0 of 1 trials; saved in ")


@pytest.mark.slow
def test_interrupt(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    words = ("trials=1", "steps=1000", "train_ratio=0.5")
    search = Search(folder, *words)
    search.reach(0, 60)
    search.process.send_signal(signal.SIGINT)
    code, _, err = search.finish()
    assert code == 130 and err.startswith("interrupted after 0 of 1 trials; saved in ")
    assert of_search(folder) == []
    (trial, waiting) = trials(folder)
    assert trial.state == TrialState.FAIL and waiting.state == TrialState.WAITING
    assert trial.user_attrs["reason"] == "the search was stopped"
    code, out, _ = Search(folder, *words).finish()
    assert code == 0 and "continuing with 0 of 1 trials" in out
    assert trials(folder)[1].state == TrialState.COMPLETE
    assert (folder / "best.yaml").exists() and (folder / "plots" / "history.png").stat().st_size > 1000


@pytest.mark.slow
def test_ray(tmp_path: Path) -> None:
    """A worker on Ray is killed: its trial alone is lost, and another takes its place."""
    pytest.importorskip("ray", reason='no Ray: pip install "worldmodel[ray]"')
    folder = tmp_path / "search"
    search = Search(folder, "launcher=ray", "trials=2", "steps=800", "train_ratio=0.5")
    search.reach(0, 60)
    (worker,) = [child for child in psutil.Process(search.process.pid).children(True) if _is_worker(child)]
    worker.kill()
    code, _, err = search.finish()
    assert code == 0, err
    first, second = trials(folder)
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert first.user_attrs["reason"] == "its worker was killed by SIGKILL"
    assert of_search(folder) == []
