"""A worker of a search: a process that runs one trial after another. What it does comes as a line on stdin.

stdin stays open as long as the worker is wanted: at its end, however that comes, the worker stops its trial and ends.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from pydantic import TypeAdapter

from worldmodel.cli.command import leave
from worldmodel.search.samplers import reseeded
from worldmodel.search.storage import open_storage
from worldmodel.search.study import Guard, Stopped, counted, open_study
from worldmodel.search.trial import TrialFailed, Work, run_trial


def run(work: Work, unwanted: threading.Event) -> None:
    """Run trials until the study has enough of them. Raises Stopped when `unwanted` is set meanwhile."""
    from optuna import Trial

    storage = open_storage(work.storage, work.heartbeat, unwanted.is_set)
    sampler = reseeded(work.sampler, Path(work.folder) / "ledger.sqlite", *work.entropy)
    study = open_study(storage, work.study, sampler, work.pruner.make(work.points))
    guard = Guard(Path(work.folder))

    def objective(trial: Trial) -> float:
        try:
            return run_trial(trial, work, guard, unwanted.is_set)
        except TrialFailed as error:
            trial.set_user_attr("reason", str(error))
            raise

    while not unwanted.is_set():
        with guard:
            if len(counted(study.get_trials(deepcopy=False))) >= work.trials:
                return
            study.optimize(objective, n_trials=1, catch=(TrialFailed,))
    raise Stopped("the search was stopped")


def main() -> int:
    """Exit code 0 when there is nothing left to do, 130 when the worker was asked to stop."""
    unwanted = threading.Event()
    work = TypeAdapter(Work).validate_json(sys.stdin.readline())

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        unwanted.set()

    threading.Thread(target=wait, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda number, frame: unwanted.set())
    try:
        run(work, unwanted)
    except Exception as caught:
        # Optuna ends a trial with it where what the trial raised, and then the storage, has left a result unbound
        error = caught.__context__ if isinstance(caught, UnboundLocalError) else caught
        code = getattr(error, "exit_code", None)
        if not isinstance(code, int):
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return code
    return 0


if __name__ == "__main__":
    leave(main())
