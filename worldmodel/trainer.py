"""The training loop: collect, update, log, evaluate, save."""

import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from envs import EnvironmentFault, Environments, Episode
from worldmodel.agent import Memory
from worldmodel.checkpoint import Checkpoints, Stateful
from worldmodel.config import TrainConfig
from worldmodel.evaluation import SEED as EVALUATION_SEED
from worldmodel.evaluation import evaluate, write_evaluation
from worldmodel.experience import pack, record, to_windows
from worldmodel.metrics import Means, MetricsWriter
from worldmodel.player import Player
from worldmodel.predictions import write_predictions
from worldmodel.progress import Progress
from worldmodel.replay import Replay
from worldmodel.rssm import State
from worldmodel.run_folder import RunFolder
from worldmodel.update import Update

PREDICTED = 48  # steps of an open-loop prediction


class Interrupted(Exception):
    """The run was asked to stop; it has been saved."""

    exit_code = 130


@dataclass
class Counters:
    """How far a run is."""

    step: int = 0
    updates: int = 0
    evaluations: int = 0
    predictions: int = 0
    best: float = float("-inf")


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
            generator.set_state(value)
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
        replay: Replay,
        player: Player,
        update: Update,
        writer: MetricsWriter,
    ) -> None:
        self.config, self.folder, self.writer = config, folder, writer
        self.environments, self.replay, self.player, self.update = environments, replay, player, update
        self.counters, self.means = Counters(), Means()
        self.memory = player.initial(environments.num)
        self.stopping = False
        self._evaluation: Environments | None = None
        parts: dict[str, Stateful] = {
            "agent": player.agent,
            "optimizer": update.optimizer,
            "environments": environments,
            "trainer": self,
            "means": self.means,
            "random": RandomStates(player.generator),
        }
        self.checkpoints = Checkpoints(folder.path / "checkpoints", config.checkpoint.keep, parts, replay)
        self._saved = time.monotonic()
        self._logged = (time.monotonic(), 0, 0)

    def run(self) -> None:
        """Train to the end and evaluate. Raises Interrupted, after saving, when `stopping` was set."""
        config, counters = self.config, self.counters
        self._logged = (time.monotonic(), counters.step, counters.updates)
        self.progress = Progress(config.steps, counters.step, counters.updates)
        try:
            while counters.step < config.steps:
                self._evaluate_if_due()
                self._save_if_due()
                self._collect()
                self._train()
                self._log_if_due()
            self._finish()
        finally:
            self.progress.close()
        print(self.progress.summary())

    def state_dict(self) -> dict[str, Any]:
        """Counters and what the agent remembers of the running episodes."""
        deter, stoch = self.memory.state
        return {"counters": asdict(self.counters), "deter": deter, "stoch": stoch, "action": self.memory.action}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        vars(self.counters).update(state["counters"])
        deter, stoch, action = (state[key].to(self.player.device) for key in ("deter", "stoch", "action"))
        self.memory = Memory(State(deter, stoch), action)

    def start(self) -> None:
        """Begin a new run."""
        self.environments.reset()

    def resume(self, path: Path) -> list[int]:
        """Continue from a checkpoint. Returns the streams whose running episode could not be brought back."""
        broken: list[int] = self.checkpoints.load(path)["environments"]
        for stream in broken:
            self.replay.truncate(stream)
        return broken

    def close(self) -> None:
        """Release what the trainer opened, and the selector."""
        if self._evaluation is not None:
            self._evaluation.close()
        self.replay.selector.close()

    def _collect(self) -> None:
        """One step of every stream. Nothing is kept of a step in which an environment fails."""
        current = self.environments.current
        memory = self.player.act(current.observation, current.is_first, self.memory, greedy=False)
        action = self.player.action(memory)
        try:
            step = self.environments.step(action)
        except EnvironmentFault:
            self._save()
            raise
        self.memory = memory
        self.replay.add(current.stream, record(current, action, *pack(memory.state)))
        if len(step.ended):
            nothing = [np.zeros_like(x[: len(step.ended)]) for x in (action, *pack(memory.state))]
            self.replay.add(step.ended.stream, record(step.ended, *nothing))
        self.counters.step += self.environments.num * self.environments.action_repeat
        for episode in step.episodes:
            self.writer.write(self.counters.step, {"episode/return": episode.ret, "episode/length": episode.length})
        returns = [episode.ret for episode in step.episodes]
        self.progress.update(self.counters.step, self.counters.updates, returns[-1] if returns else None)

    def _train(self) -> None:
        """The updates that the train ratio asks for by now."""
        config, counters = self.config, self.counters
        collected = counters.step / self.environments.action_repeat - config.prefill
        due = int(collected * config.train_ratio / (config.batch_size * config.batch_length))
        while counters.updates < due:
            self.replay.selector.prepare(counters.updates)
            window = self.replay.sample(config.batch_size)
            losses = self.update(to_windows(window, self.player.device, config.size.classes))
            deter, stoch = pack(losses.state)
            self.replay.write_back(window, {"deter": deter, "stoch": stoch}, losses.item.double().cpu().numpy())
            self.means.add(losses.metrics)
            counters.updates += 1

    def _log_if_due(self) -> None:
        counters, every = self.counters, self.config.log.every
        if counters.step // every > (counters.step - self.environments.num * self.environments.action_repeat) // every:
            row = {f"replay/{key}": value for key, value in self.replay.selector.metrics().items()}
            self._write(row | {"replay/steps": len(self.replay), "updates": counters.updates} | self.means.result())

    def _write(self, row: dict[str, float]) -> None:
        """Write a row, with the speed since the last one."""
        now = (time.monotonic(), self.counters.step, self.counters.updates)
        seconds = max(1e-9, now[0] - self._logged[0])
        speed = {
            "time/steps_per_second": (now[1] - self._logged[1]) / seconds,
            "time/updates_per_second": (now[2] - self._logged[2]) / seconds,
        }
        self._logged = now
        self.writer.write(self.counters.step, row | speed)

    def _evaluate_if_due(self) -> None:
        counters, config = self.counters, self.config
        if config.eval.every and counters.step // config.eval.every > counters.evaluations:
            self._evaluate(config.eval.episodes)
            counters.evaluations = counters.step // config.eval.every
        every = config.log.predictions_every
        if every and counters.step // every > counters.predictions:
            windows = to_windows(self.replay.latest(PREDICTED), self.player.device, config.size.classes)
            write_predictions(self.writer, counters.step, self.player.agent, windows, PREDICTED // 4)
            counters.predictions = counters.step // every

    def _evaluate(self, episodes: int) -> list[Episode]:
        """Evaluate, log, and keep the weights if they are the best so far."""
        if self._evaluation is None:
            streams = min(episodes, 10)
            self._evaluation = Environments(self.config.env, streams, EVALUATION_SEED, evaluation=True)
        played = evaluate(self.player.copy(EVALUATION_SEED), self._evaluation, episodes, self._break_off)
        returns = np.array([episode.ret for episode in played])
        mean = float(returns.mean())
        self.writer.write(self.counters.step, {"eval/return": mean, "eval/return_std": float(returns.std())})
        if mean > self.counters.best:
            self.counters.best = mean
            about = {"step": self.counters.step, "eval/return": mean}
            self.checkpoints.save_best({"agent": self.player.agent.state_dict(), **about})
        self.progress.update(self.counters.step, self.counters.updates, eval_return=mean)
        return played

    def _break_off(self) -> None:
        """Stop an evaluation on request: the run is saved as of before it."""
        if self.stopping:
            self._save_if_due()

    def _save_if_due(self) -> None:
        if self.stopping:
            self._save()
            raise Interrupted(
                f"interrupted at step {self.counters.step}; saved in {self.folder.path}; the same command continues"
            )
        if time.monotonic() - self._saved > 60 * self.config.checkpoint.minutes:
            self._save()

    def _save(self) -> Path:
        self.writer.flush()
        path = self.checkpoints.save(self.counters.step, {"marks": self.folder.marks()})
        self._saved = time.monotonic()
        return path

    def _finish(self) -> None:
        """Save, evaluate, and mark the run as finished by its evaluation.json."""
        self._save_if_due()
        checkpoint = self._save()
        played = self._evaluate(self.config.eval.final_episodes)
        self.writer.flush()
        write_evaluation(self.folder.path, played, self.counters.step, checkpoint)
