"""Trials and their workers, with a stand-in for the training that starts in milliseconds."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from tests.worldmodel.search.trainings import PARAMETER, side_by_side, stand_in, study, work
from worldmodel.search import trial as trial_module
from worldmodel.search import worker
from worldmodel.search.storage import GRACE, open_storage
from worldmodel.search.study import Guard, counted, give_up, unclaimed
from worldmodel.search.trial import Stopped, Work

QUBO: dict[str, Any] = {
    "name": "qubo",
    "surrogate": "auto",
    "surrogate_options": {},
    "solver": "auto",
    "options": {},
    "backend": "statevector",
    "budget": None,
    "n_startup_trials": 2,
}


@pytest.fixture(autouse=True)
def _fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_module, "TRAIN", stand_in(tmp_path))
    monkeypatch.setattr(trial_module, "POLL", 0.02)
    monkeypatch.setattr(trial_module, "READ", 0.02)


def ran(given: Work) -> list[FrozenTrial]:
    worker.run(given, threading.Event())
    return study(given).trials


def test_trials_are_runs(tmp_path: Path) -> None:
    trials = ran(work(tmp_path, words=["steps=10", "x=5"]))
    assert [trial.number for trial in trials] == [0, 1]
    for trial in trials:
        folder = tmp_path / "search" / "trials" / str(trial.number)
        assert trial.state == TrialState.COMPLETE and trial.value == trial.params["x"]  # not 5: the trial's comes last
        assert trial.user_attrs["folder"] == str(folder) and trial.user_attrs["worker"] == "first"
        assert list(trial.intermediate_values) == list(range(1, 11))
        assert (folder / "evaluation.json").exists()
    assert trials[0].params != trials[1].params
    assert len(ran(work(tmp_path))) == 2  # there are enough


def test_objectives(tmp_path: Path) -> None:
    for name in ("return_area", "return_per_minute"):
        (trial,) = ran(work(tmp_path, objective=name, study=name, trials=1))
        assert trial.value == pytest.approx(trial.params["x"] * {"return_area": 1, "return_per_minute": 2}[name])


SAMPLERS: list[dict[str, Any]] = [
    {"name": "tpe", "multivariate": True, "n_startup_trials": 2},
    {"name": "gp", "n_startup_trials": 2},
    {"name": "cmaes", "n_startup_trials": 1},
    QUBO,
    {**QUBO, "solver": "qaoa", "options": {"layers": 1}},
]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: f"{sampler['name']}-{sampler.get('solver')}")
def test_samplers(tmp_path: Path, sampler: dict[str, Any]) -> None:
    if sampler["name"] == "cmaes":
        pytest.importorskip("cmaes")
    space = {"x": PARAMETER, "layers": {"type": "categorical", "choices": [1, 2]}}
    trials = ran(work(tmp_path, sampler={**sampler, "seed": 0}, space=space, trials=4))
    assert [trial.state for trial in trials] == 4 * [TrialState.COMPLETE]
    assert len({trial.params["x"] for trial in trials}) == 4
    proposed = [trial for trial in trials if "qubo" in trial.user_attrs]
    assert bool(proposed) == (sampler["name"] == "qubo")


@pytest.mark.slow
def test_a_crash_is_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    trials = ran(work(tmp_path, words=["crash=0.5"], trials=8))
    states = {trial.params["x"] > 0.5: trial.state for trial in trials}
    assert states == {True: TrialState.FAIL, False: TrialState.COMPLETE}
    reasons = {trial.user_attrs.get("reason") for trial in trials if trial.state == TrialState.FAIL}
    assert reasons == {"the wheel fell off"}


@pytest.mark.parametrize(
    ("word", "reason"), [("killed=1", "killed by SIGKILL"), ("mute=1", "evaluation.json gives no mean return: ")]
)
def test_runs_without_a_value(tmp_path: Path, word: str, reason: str) -> None:
    (trial,) = ran(work(tmp_path, words=[word], trials=1))
    assert trial.state == TrialState.FAIL and trial.user_attrs["reason"].startswith(reason)


@pytest.mark.slow
def test_pruning(tmp_path: Path) -> None:
    """A trial below the median is stopped where it is seen, and its run saves itself."""
    pruner = {"name": "median", "n_startup_trials": 2, "n_warmup_steps": 2}
    given = work(tmp_path, words=["pause=1", "quick=0.5"], trials=3, pruner=pruner)
    storage = open_storage(given.storage, 60)
    from optuna import create_study

    queue = create_study(storage=storage, study_name="study", direction="maximize")
    for x in (0.6, 0.8, 0.1):
        queue.enqueue_trial({"x": x})
    *_, last = ran(given)
    assert last.state == TrialState.PRUNED and last.value == 0.1 and 2 <= last.last_step < 10
    assert (tmp_path / "search/trials/2/saved").exists() and not (tmp_path / "search/trials/2/evaluation.json").exists()


@pytest.mark.slow
def test_a_stopped_trial_is_continued(tmp_path: Path) -> None:
    unwanted = threading.Event()
    given = work(tmp_path, words=["pause=60"], trials=1)

    def stop() -> None:
        while not (rows := tmp_path / "search/trials/0/metrics.jsonl").exists() or not rows.read_text():
            time.sleep(0.02)
        unwanted.set()

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Stopped):
        worker.run(given, unwanted)
    trials = study(given).trials
    assert [trial.state for trial in trials] == [TrialState.FAIL, TrialState.WAITING]
    assert trials[0].user_attrs["reason"] == "the search was stopped" and counted(trials) == []
    step = int((tmp_path / "search/trials/0/saved").read_text())
    assert step > 0
    _, trial = ran(work(tmp_path, trials=1))
    assert trial.state == TrialState.COMPLETE and trial.params == trials[0].params
    assert (tmp_path / "search/trials/1/stdout.log").read_text() == f"from 0\nfrom {step}\n"
    assert not (tmp_path / "search/trials/0").exists()


@pytest.mark.slow
def test_workers_side_by_side_make_exactly_the_trials(tmp_path: Path) -> None:
    names = [f"worker {number}" for number in range(4)]
    works = [work(tmp_path, trials=9, worker=name, entropy=[0, number]) for number, name in enumerate(names)]
    open_storage(works[0].storage, 60)
    side_by_side(works)
    trials = study(works[0]).trials
    assert len(trials) == 9 and all(trial.state == TrialState.COMPLETE for trial in trials)
    assert len({trial.params["x"] for trial in trials}) == 9  # nobody drew what another drew
    assert {trial.user_attrs["worker"] for trial in trials} <= set(names)


def begun(given: Work, **attributes: Any) -> int:
    """A trial that runs, with no worker behind it; its number."""
    trial = study(given).ask()
    trial.suggest_float("x", 0, 1)
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    return trial.number


def test_giving_up(tmp_path: Path) -> None:
    """The trials of the dead are failed once, those that are to be tried again once; others stay."""
    given = work(tmp_path)
    ran(given)
    dead, alive, silent = begun(given, worker="a"), begun(given, worker="b"), begun(given)
    storage, guard, here = open_storage(given.storage, 60), Guard(tmp_path), study(given)

    def of_a(trial: FrozenTrial) -> bool:
        return trial.user_attrs.get("worker") == "a"

    assert give_up(here, storage, guard, of_a, "gone", again=False) == [dead]
    assert give_up(here, storage, guard, of_a, "gone", again=False) == []
    assert not any(unclaimed(trial, 100) for trial in here.trials if trial.number in (alive, silent))
    assert give_up(here, storage, guard, lambda trial: unclaimed(trial, 0), "silent", again=True) == [silent]
    states = {trial.number: trial.state for trial in here.trials}
    assert (states[dead], states[alive], states[silent]) == (TrialState.FAIL, TrialState.RUNNING, TrialState.FAIL)
    waiting = here.trials[-1]
    assert waiting.state == TrialState.WAITING and waiting.user_attrs["continues"] == silent
    assert [trial.number for trial in counted(here.trials)] == [0, 1, dead, alive]
    assert here.trials[dead].user_attrs["reason"] == "gone"


@pytest.mark.slow
def test_a_trial_without_signs_of_life_is_tried_again(tmp_path: Path) -> None:
    """As when another machine, with the same storage, was switched off."""
    given = work(tmp_path, trials=1, heartbeat=1)
    storage = open_storage(given.storage, 1)
    from optuna import create_study

    there = create_study(storage=storage, study_name="study", direction="maximize")
    trial = there.ask()
    x = trial.suggest_float("x", 0, 1)
    trial.set_user_attr("worker", "elsewhere")
    storage.record_heartbeat(trial._trial_id)
    time.sleep(GRACE + 1.5)
    first, second = ran(work(tmp_path, trials=2, heartbeat=1))[:2]
    assert first.state == TrialState.FAIL and second.state == TrialState.COMPLETE
    assert second.params == {"x": x} and second.user_attrs["continues"] == 0
