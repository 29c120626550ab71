"""The training loop: collect, update, log, evaluate, save."""

import json
import math
import random
import time
import warnings
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from worldmodel.envs import EnvironmentFault, EnvironmentRefused, Environments, Episode
from worldmodel.kernels.compiling import compilations_said
from worldmodel.launch import hardware
from worldmodel.model.batch import Carry, Recalled, Slots, State
from worldmodel.model.player import Player
from worldmodel.replay.episodic import pack_written
from worldmodel.replay.stream import Stream, pack, record
from worldmodel.runs.checkpoint import Checkpoints, Stateful
from worldmodel.runs.evaluation import write_evaluation
from worldmodel.runs.folder import CHECKPOINTS, FolderMoved, RunFolder, RunFolderError
from worldmodel.runs.metrics import Means, MetricsWriter
from worldmodel.runs.progress import Progress
from worldmodel.train.config import TrainConfig
from worldmodel.train.episodes import SEED as EVALUATION_SEED
from worldmodel.train.episodes import STREAMS, evaluate
from worldmodel.train.laprop import is_finite
from worldmodel.train.predictions import write_predictions
from worldmodel.train.update import NonFiniteLoss, Update
from worldmodel.train.value_bias import ValueBias

LARGEST = math.expm1(20)  # the greatest reward or value of the two-hot code
PREDICTED = 48  # steps of an open-loop prediction


class Interrupted(Exception):
    """The run was asked to stop; it has been saved."""

    exit_code = 130


@dataclass
class Counters:
    """How far a run is."""

    step: int = 0
    updates: int = 0
    evaluated: int = 0  # step of the last evaluation
    predicted: int = 0
    seconds: float = 0.0
    best: float = float("-inf")
    highest: float = float("-inf")  # return of an episode of training


class RandomStates:
    """Every random state that a run depends on and that no other part holds."""

    def __init__(self, *generators: torch.Generator) -> None:
        self._generators = generators

    def state_dict(self) -> dict[str, Any]:
        kind, keys, *rest = np.random.get_state(legacy=True)
        return {
            "generators": [generator.get_state() for generator in self._generators],
            "torch": torch.get_rng_state(),
            "numpy": [kind, np.asarray(keys).tolist(), *rest],
            "python": json.dumps(random.getstate()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for generator, value in zip(self._generators, state["generators"], strict=True):
            if generator.get_state().shape == value.shape:
                generator.set_state(value)
            else:  # of another kind of device: the run goes on with other random numbers, and still repeatably
                generator.manual_seed(crc32(value.numpy().tobytes()))
        torch.set_rng_state(state["torch"])
        np.random.set_state(tuple(state["numpy"]))
        version, keys, gauss = json.loads(state["python"])
        random.setstate((version, tuple(keys), gauss))


class Trainer:
    """Trains an agent until `config.steps`. Everything it holds between two iterations is in its checkpoints."""

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        environments: Environments,
        stream: Stream,
        player: Player,
        update: Update,
    ) -> None:
        self.config, self.folder = config, folder
        self.environments, self.stream, self.player, self.update = environments, stream, player, update
        self.replay = stream.replay
        self.counters, self.means = Counters(), Means()
        self.memory = player.initial(environments.num)
        self.stopping = False
        self._evaluation: Environments | None = None
        self._clamped = False
        self._shared = config.eval.environments == "shared"
        parts: dict[str, Stateful] = {
            "environments": environments,  # first, since they say best what has changed
            "agent": player.agent,
            "optimizer": update.optimizer,
            "trainer": self,
            "means": self.means,
            "random": RandomStates(player.generator),
        }
        self.checkpoints = Checkpoints(folder.path / CHECKPOINTS, config.checkpoint.keep, parts, self.replay)
        self._saved = time.monotonic()
        self._logged = (time.monotonic(), 0, 0)

    def run(self, writer: MetricsWriter) -> None:
        """Train to the end and evaluate. Raises Interrupted, after saving, when `stopping` was set."""
        config, counters, self.writer = self.config, self.counters, writer
        self._logged = (time.monotonic(), counters.step, counters.updates)
        self.progress = Progress(config.steps, counters.step, counters.updates)
        with closing(self.progress), compilations_said(self.progress.note, self.progress.leave_out):
            while counters.step < config.steps and not self._is_out_of_time():
                self._evaluate_if_due()
                self._stop_if_asked()
                self._save_if_due()
                self._collect()
                self._train()
                self._log_if_due()
            self._finish()
        print(self.progress.summary())

    def state_dict(self) -> dict[str, Any]:
        """Counters and what the agent remembers of the running episodes."""
        state, action = self.memory
        counters = {**asdict(self.counters), "seconds": self._seconds()}
        recalled = {} if isinstance(state, State) else {"context": state.context, "slots": state.slots._asdict()}
        return {"counters": counters, "deter": state.deter, "stoch": state.stoch, "action": action, **recalled}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        own = vars(self.counters)
        own.update({name: type(own[name])(value) for name, value in state["counters"].items()})
        deter, stoch, action = (state[key].to(self.player.device) for key in ("deter", "stoch", "action"))
        self.memory = Carry(State(deter, stoch), action)
        if "slots" in state:
            slots = Slots(**{name: part.to(self.player.device) for name, part in state["slots"].items()})
            recalled = Recalled(deter, stoch, state["context"].to(self.player.device), slots)
            self.memory = Carry(recalled, action)

    def resume(self, path: Path) -> tuple[list[int], dict[str, dict[str, int]]]:
        """Continue from a checkpoint; nothing in the folder is changed before all of it has been read.

        Returns the streams whose running episode could not be brought back, and the `marks` and `sums` of the files
        that grow. Raises RunFolderError for a checkpoint of a run with another kind of optimiser.
        """
        results, state = self.checkpoints.load(path)
        if not self.update.steps.fits(state["optimizer"]):
            name = self.config.optimizer.name
            other = "laprop" if name == "hybrid" else "hybrid"
            raise RunFolderError(
                f"{path}: is of a run with optimizer={other}; this run has optimizer={name}; give another logdir"
            )
        broken: list[int] = results["environments"]
        for stream in broken:
            self.replay.truncate(stream)
        self.counters.best = self.checkpoints.best()
        return broken, {"marks": state["marks"], "sums": state.get("sums", {})}  # earlier checkpoints had no sums

    def close(self) -> None:
        """Release what the trainer opened, and the selector."""
        if self._evaluation is not None:
            self._evaluation.close()
        self.replay.selector.close()

    def _collect(self) -> None:
        """One step of every stream. Nothing is kept of a step in which an environment fails."""
        current, noise = self.environments.current, self.player.generator.get_state()
        memory = self.player.act(current.observation, current.is_first, self.memory, greedy=False)
        action = self.player.action(memory)
        try:
            step = self.environments.step(action)
        except EnvironmentFault:
            self.player.generator.set_state(noise)
            self._save()
            raise
        hardware.put_back_torch(self.config.env.id)
        self._tell_clamped(np.append(step.current.reward, step.ended.reward))
        self.memory = memory
        latents, written = pack(memory.state), pack_written(memory.state)
        self.replay.add(current.stream, record(current, action, *latents, written))
        if ended := len(step.ended):
            acted, deter, stoch = (np.zeros_like(array[:ended]) for array in (action, *latents))
            unwritten = {name: np.zeros_like(array[:ended]) for name, array in written.items()}
            self.replay.add(step.ended.stream, record(step.ended, acted, deter, stoch, unwritten))
        self.counters.step += self.environments.num * self.environments.action_repeat
        for episode in step.episodes:
            self.writer.write(self.counters.step, {"episode/return": episode.ret, "episode/length": episode.length})
        returns = [episode.ret for episode in step.episodes]
        self.counters.highest = max([self.counters.highest, *returns])
        self.progress.update(self.counters.step, self.counters.updates, returns[-1] if returns else None)

    def _tell_clamped(self, reward: NDArray[np.float32]) -> None:
        if not self._clamped and np.abs(reward).max() > LARGEST:
            self._clamped = True
            self.progress.note(f"rewards beyond {LARGEST:.3g} are learned as {LARGEST:.3g}: scale them down")

    def _train(self) -> None:
        """The updates that the train ratio asks for by now."""
        config, counters = self.config, self.counters
        collected = counters.step / self.environments.action_repeat - config.prefill
        due = int(collected * config.train_ratio / (config.batch_size * config.batch_length))
        context = self.stream.context(self.memory.state.deter) if counters.updates < due else None
        while counters.updates < due:
            self.replay.selector.prepare(counters.updates)
            batch = self.stream.next(context)
            losses = self.update(batch.windows, self._share())
            self.stream.write_back(batch, losses)
            if not self.means:  # of the first update of each row, so that stopping and continuing changes none
                with self.player.autocast():
                    self.means.add(self.player.agent.diagnostics(losses.state))
            self.means.add(losses.metrics)
            counters.updates += 1

    def _log_if_due(self) -> None:
        counters, every = self.counters, self.config.log.every
        if counters.step // every > (counters.step - self.environments.num * self.environments.action_repeat) // every:
            self._follow_folder()
            row = {f"replay/{key}": value for key, value in self.replay.selector.metrics().items()}
            row |= self.update.steps.metrics()
            row["replay/rewarded"] = self.replay.nonzero("reward")
            if counters.highest > float("-inf"):
                row["episode/best"] = counters.highest
            self._write(row | {"replay/steps": len(self.replay), "updates": counters.updates} | self.means.result())

    def _seconds(self) -> float:
        """Seconds of the run so far, in all processes that it had."""
        return self.counters.seconds + time.monotonic() - self._logged[0]

    def _is_out_of_time(self) -> bool:
        return self.config.seconds is not None and self._seconds() >= self.config.seconds

    def _share(self) -> float:
        """How much of the run is done, in [0, 1]: of its steps or of its time, whichever ends first."""
        steps = self.counters.step / self.config.steps
        return min(1.0, steps if self.config.seconds is None else max(steps, self._seconds() / self.config.seconds))

    def _write(self, row: dict[str, float]) -> None:
        """Write a row, with the speed since the last one."""
        counters, now = self.counters, time.monotonic()
        then, step, updates = self._logged
        self._logged = (now, counters.step, counters.updates)
        seconds = max(1e-9, now - then)
        counters.seconds += seconds
        speed = {
            "time/seconds": counters.seconds,
            "time/steps_per_second": (counters.step - step) / seconds,
            "time/updates_per_second": (counters.updates - updates) / seconds,
        }
        self.writer.write(counters.step, row | speed)

    def _evaluate_if_due(self) -> None:
        counters, config = self.counters, self.config
        every = config.eval.every
        between = not self._shared or bool(self.environments.current.is_first.any())
        if every and between and counters.step // every > counters.evaluated // every:
            self._evaluate(config.eval.episodes)
            counters.evaluated = counters.step
        every = config.log.predictions_every
        if (
            every
            and self.player.agent.compiled
            and counters.updates
            and counters.step // every > counters.predicted // every
        ):
            windows = self.stream.latest(PREDICTED)
            write_predictions(self.writer, counters.step, self.player.agent, windows, PREDICTED // 4)
            counters.predicted = counters.step

    def _evaluate(self, episodes: int, final: bool = False) -> list[Episode]:
        """Evaluate, log, and keep the weights if they are the best so far. final: training does not go on."""
        try:
            environments = self._evaluation_environments(min(episodes, STREAMS))
            hardware.put_back_torch(self.config.env.id)
            player, note = self.player.copy(EVALUATION_SEED), self.progress.note
            bias = ValueBias(player.value, self.config.behavior.discount)
            played = evaluate(player, environments, episodes, self._stop_if_asked, note=note, see=bias.see)
            hardware.put_back_torch(self.config.env.id)
            broken = self.environments.take_back() if self._shared and not final else []
        except EnvironmentFault:
            self._save()
            raise
        self._follow_folder()
        for stream in broken:
            self.replay.truncate(stream)
        returns = np.array([episode.ret for episode in played])
        mean = float(returns.mean())
        self._write({"eval/return": mean, "eval/return_std": float(returns.std()), **bias.metrics(played)})
        if mean > self.counters.best:
            self._check_weights()
            self.counters.best = mean
            self.checkpoints.save_best(self.counters.step, mean)
        self.progress.update(self.counters.step, self.counters.updates, eval_return=mean)
        return played

    def _evaluation_environments(self, streams: int) -> Environments:
        """Environments for evaluations: those of training, or own ones, kept for the next one of as many streams."""
        if self._shared:
            return self.environments.lent(EVALUATION_SEED)
        if self._evaluation is not None and self._evaluation.num != streams:
            self._evaluation.close()
            self._evaluation = None
        if self._evaluation is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # those for training have told it
                try:
                    config, repeatable = self.config.env, self.config.deterministic
                    self._evaluation = Environments(
                        config, streams, EVALUATION_SEED, True, repeatable=repeatable, beside=self.environments
                    )
                except (EnvironmentFault, EnvironmentRefused) as error:
                    hint = "eval.environments=shared evaluates in the environment of training"
                    raise EnvironmentFault(f"{error}; for an evaluation beside training: {hint}") from error
        return self._evaluation

    def _stop_if_asked(self) -> None:
        """Save and leave on request; the run is saved as of before an evaluation that is under way."""
        if self.stopping:
            self._save()
            raise Interrupted(
                f"interrupted at step {self.counters.step}; saved in {self.folder.path}; the same command continues"
            )

    def _save_if_due(self) -> None:
        if time.monotonic() - self._saved > 60 * self.config.checkpoint.minutes:
            self._save()

    def _save(self) -> Path:
        """Write a checkpoint. Raises NonFiniteLoss, and FolderMoved after saving."""
        self._follow_folder()
        return self._write_checkpoint()

    def _follow_folder(self) -> None:
        """Where the folder was moved or removed meanwhile, save into what is there now. Raises FolderMoved."""
        before = self.folder.path
        if self.folder.follow():
            self.checkpoints.move(self.folder.path / CHECKPOINTS)
            self.folder.write_config(self.config.as_dict())
            self._write_checkpoint()
            raise FolderMoved(before, self.folder.path, self.counters.step)

    def _write_checkpoint(self) -> Path:
        self._check_weights()
        self.writer.flush()
        path = self.checkpoints.save(self.counters.step, {"marks": self.folder.marks(), "sums": self.folder.sums()})
        self._saved = time.monotonic()
        return path

    def _check_weights(self) -> None:
        """Raise NonFiniteLoss rather than put useless weights in the place of good ones."""
        if not all(is_finite(parameter) for parameter in self.player.agent.parameters()):
            raise NonFiniteLoss("the weights are not finite; they are not saved")

    def _finish(self) -> None:
        """Save, evaluate, and mark the run as finished by its evaluation.json."""
        self._stop_if_asked()
        checkpoint = self._save()
        episodes = self.config.eval.final_episodes
        played = self._evaluate(episodes, final=True) if episodes else []
        self.writer.flush()
        write_evaluation(self.folder.path, played, self.counters.step, checkpoint, finished=self.counters.step)
