"""`python -m worldmodel.search`: a search composed from its configuration, begun or continued."""

import os
import socket
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from hybrid_opt.paths import user_path
from worldmodel.cli.command import stopped_by_signals
from worldmodel.cli.schema import configs_folder
from worldmodel.envs import Environments
from worldmodel.launch import hardware
from worldmodel.launch.launcher import Launcher, Started, stop_all
from worldmodel.launch.process import Ended, Program
from worldmodel.runs.checkpoint import state_file
from worldmodel.runs.folder import RunFolder, RunFolderError, differences
from worldmodel.search.config import MAY_CHANGE, SearchConfig, searched, training_words
from worldmodel.search.progress import SearchProgress, best_trial
from worldmodel.search.samplers import say_uncounted
from worldmodel.search.space import Parameter
from worldmodel.search.storage import GRACE, open_storage, shown, storage_url
from worldmodel.search.study import Guard, Stopped, claim, counted, give_up, open_study, unclaimed
from worldmodel.search.summary import summarise
from worldmodel.search.trial import SAVING, Work

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from worldmodel.search.patient_storage import PatientStorage

POLL = 0.3  # seconds between two looks at workers and trials
KILLS = 3  # workers killed in a row, beyond their number, without a trial that ends: something kills them all


class SearchFailed(Exception):
    """The search cannot go on, or no trial has a value. The message is one line."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Interrupted(Exception):
    """The search was asked to stop; it can be continued."""

    exit_code = 130


def run(config: SearchConfig, words: list[str]) -> int:
    """Search; returns the exit code. What can be wrong with the input is found before anything is written."""
    from hybrid_opt.search.sampler import QuboSampler

    common = training_words(words, configs_folder())
    storage_url(config.storage, Path())
    space = searched(config.space, common, configs_folder())
    hardware.choose_device(config.device)
    if config.init is not None:
        state_file(user_path(config.init, "init"))
    sampler, pruner = config.proposer.make(), config.pruner.make(config.steps // config.interval)
    if isinstance(sampler, QuboSampler):
        sampler.check({key: parameter.distribution() for key, parameter in space.items()})
    Environments(config.env, 1, config.seed).close()
    with ExitStack() as stack:
        folder = stack.enter_context(RunFolder(config.folder()))
        url = storage_url(config.storage, folder.path)
        _compare(config, folder)
        launcher = stack.enter_context(closing(config.launcher.open(min(config.workers, config.trials))))
        storage = open_storage(url, config.heartbeat)
        name = folder.path.name if config.study == "auto" else config.study
        study = open_study(storage, name, sampler, pruner)
        if other := differences(claim(study, config.identity()), config.identity(), MAY_CHANGE):
            raise RunFolderError(
                f"study={name}: {shown(url)} holds a study of another configuration under this name: "
                f"{'; '.join(other)}; give the same or another study"
            )
        folder.write_config({**config.as_dict(), "storage": config.identity()["storage"]})  # without a password
        print(
            f"{config.env.id}: {len(space)} keys, sampler {config.sampler.name}, {config.trials} trials by "
            f"{config.workers} workers, study {name} in {shown(url)}; logdir {folder.path}"
        )
        say_uncounted(config.sampler)
        guard = stack.enter_context(closing(Guard(folder.path)))
        search = Search(config, folder.path, study, storage, guard, launcher, space, tuple(common), url)
        search.run()
        lines = summarise(study, folder.path, config.objective, common)
        print("\n".join(lines))
        if best_trial(study.get_trials(deepcopy=False)) is None:
            raise SearchFailed(f"no trial has a value; {search.last_failure()}")
    return 0


def _compare(config: SearchConfig, folder: RunFolder) -> None:
    """Refuse a folder that holds something else. Raises RunFolderError."""
    previous = folder.config()
    if previous is not None and "trials" not in previous:
        raise RunFolderError(f"logdir={folder.path}: holds a training run, not a search; give another logdir")
    folder.compare(config.identity(), MAY_CHANGE)


@dataclass
class Search:
    """Keeps the workers going until the study has its trials."""

    config: SearchConfig
    folder: Path
    study: "Study"
    storage: "PatientStorage"
    guard: Guard
    launcher: Launcher
    space: dict[str, Parameter]
    words: tuple[str, ...]
    url: str
    workers: dict[str, Started] = field(default_factory=dict)
    started: int = 0
    done: int = 0  # trials that count and have ended, as they were shown last
    stopping: bool = False

    def run(self) -> None:
        """Search to the end. Raises Interrupted, SearchFailed, or what a worker failed with."""
        self.storage.unwanted = lambda: self.stopping
        with stopped_by_signals(self):  # an exception within the database might be lost
            try:
                self._run()
            except (KeyboardInterrupt, Stopped):
                raise Interrupted(
                    f"interrupted after {self.done} of {self.config.trials} trials; saved in {self.folder}; "
                    "the same command continues"
                ) from None

    def _run(self) -> None:
        self.owner = f"{socket.gethostname()}:{self.folder}"
        trials = self._trials()
        lost = self._give_up(lambda trial: trial.user_attrs.get("owner") == self.owner, "the search was killed", True)
        lost += self._give_up(self._is_unclaimed, "its worker was killed while it chose values", True)
        self.done = self._done()
        if trials:
            again = f"; {len(lost)} that were broken off are tried again" if lost else ""
            print(f"continuing with {self.done} of {self.config.trials} trials{again}")
        if self.done >= self.config.trials:
            return
        self.entropy = len(trials)
        (self.folder / "workers").mkdir(exist_ok=True)
        self.progress = SearchProgress(self.config.trials)
        try:
            for _ in range(min(self.config.workers, self.config.trials - self.done)):
                self._start()
            self._watch()
        except BaseException:
            self._stop()
            raise
        finally:
            self.progress.close()

    def last_failure(self) -> str:
        """What the last trial failed with."""
        failed = [trial for trial in self._trials() if "reason" in trial.user_attrs]
        return f"trial {failed[-1].number} failed: {failed[-1].user_attrs['reason']}" if failed else "none ran"

    def _watch(self) -> None:
        killed = 0
        done = self._show()
        while self.workers:
            time.sleep(POLL)
            self._heed()
            now = self._show()
            killed = 0 if now > done else killed
            done = now
            for name, ended in [(name, worker.ended()) for name, worker in self.workers.items()]:
                if ended is None:
                    continue
                del self.workers[name]
                if ended.killed:
                    killed += 1
                    self._replace(name, ended, killed)
                elif ended.code != 0:
                    raise SearchFailed(f"a worker failed: {ended.reason}", ended.code or 1)
        self._show()

    def _replace(self, name: str, ended: Ended, killed: int) -> None:
        """Start another worker in the place of one that was killed, whose trial is lost."""
        reason = f"its worker was {ended.reason}" if ended.reason else "its worker was killed"
        self._give_up(lambda trial: trial.user_attrs.get("worker") == name, reason, False)
        self._give_up(self._is_unclaimed, reason, True)
        if killed > KILLS + self.config.workers:
            raise SearchFailed(f"{killed} workers in a row were killed; the last one: {ended.reason}")
        self._start()

    def _heed(self) -> None:
        if self.stopping:
            raise KeyboardInterrupt

    def _start(self) -> None:
        self._heed()
        name = f"{self.owner}:{os.getpid()}:{self.started}"
        config = self.config
        work = Work(
            storage=self.url,
            study=self.study.study_name,
            folder=str(self.folder),
            owner=self.owner,
            worker=name,
            entropy=(self.entropy, self.started),
            trials=config.trials,
            heartbeat=config.heartbeat,
            words=self.words,
            space=self.space,
            sampler=config.proposer,
            pruner=config.pruner,
            objective=config.objective,
            curve=config.metric,
            interval=config.interval,
            points=config.steps // config.interval,
        )
        log = str(self.folder / "workers" / f"{self.started}.log")
        request = TypeAdapter(Work).dump_json(work).decode()
        self.workers[name] = self.launcher.start(Program(("-m", "worldmodel.search.worker"), log, log, request))
        self.started += 1

    def _stop(self) -> None:
        """Have all workers save their trials and end; those that take too long, or a second interrupt, are ended.

        A storage that is away is not waited for.
        """
        self.stopping = True
        try:
            stop_all(self.workers.values(), SAVING)
        finally:
            try:
                self._give_up(lambda trial: trial.user_attrs.get("owner") == self.owner, "the search was stopped", True)
                self._give_up(self._is_unclaimed, "its worker was stopped while it chose values", True)
                self.done = self._done()
            except Stopped as error:
                print(f"{error}; the trials that ran are tried again when it continues", file=sys.stderr)

    def _give_up(self, gone: Any, reason: str, again: bool) -> list[int]:
        return give_up(self.study, self.storage, self.guard, gone, reason, again)

    def _is_unclaimed(self, trial: "FrozenTrial") -> bool:
        return unclaimed(trial, 0 if self.config.storage == "auto" else GRACE * self.config.heartbeat)

    def _trials(self) -> "list[FrozenTrial]":
        return self.study.get_trials(deepcopy=False)

    def _done(self) -> int:
        """How many of the trials that count have ended."""
        return sum(trial.state.is_finished() for trial in counted(self._trials()))

    def _show(self) -> int:
        """Show the progress; returns how many trials have ended."""
        trials = self._trials()
        self.done = sum(trial.state.is_finished() for trial in counted(trials))
        self.progress.update(trials, self.done)
        return self.done
