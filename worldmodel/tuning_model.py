"""PPO and SAC of Stable-Baselines3 on circuit tuning: trained, checkpointed without pickles, turned into a policy."""

import time
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from envs.circuit import CircuitTuningVector
from envs.circuit_sb3 import TuningVecEnv
from hybrid_opt.circuits.learned import TuningPolicy
from worldmodel.atomic_file import WriteError
from worldmodel.checkpoint import checkpoints, publish, remove, restoring
from worldmodel.compiling import compilations_said
from worldmodel.composition import UsageError
from worldmodel.metrics import Means, MetricsWriter
from worldmodel.progress import Progress
from worldmodel.run_folder import CHECKPOINTS, FolderMoved, RunFolder
from worldmodel.saved_state import FORMAT, load_state, save_state
from worldmodel.trainer import Interrupted, RandomStates
from worldmodel.tuning_config import TuneConfig

ALGORITHMS: dict[str, Any] = {"ppo": PPO, "sac": SAC}
_BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class Tuner:
    """A model of Stable-Baselines3 with its environments and its checkpoints.

    A continued run has the weights, optimisers, replay and random states of the checkpoint; episodes that were running
    begin anew.
    """

    def __init__(self, config: TuneConfig, device: torch.device, folder: RunFolder) -> None:
        self.config, self.folder = config, folder
        self.vector = CircuitTuningVector(config.agent.streams, **config.env.kwargs)
        self.view = TuningVecEnv(self.vector)
        self.model = self._model(device)
        self._random = RandomStates()
        self._checkpoints = folder.path / CHECKPOINTS

    @property
    def step(self) -> int:
        """Environment steps so far."""
        return int(self.model.num_timesteps)

    def _model(self, device: torch.device) -> Any:
        config, agent = self.config, self.config.agent
        options = {key: _value(value) for key, value in agent.options.items()}
        kind = {**options.pop("policy_kwargs", {}), "net_arch": list(agent.hidden), "activation_fn": nn.Tanh}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that small networks are slow on a GPU, and the like
                return ALGORITHMS[agent.name](
                    "MlpPolicy", self.view, seed=config.seed, device=device, policy_kwargs=kind, **options
                )
        except (TypeError, ValueError, AssertionError, AttributeError) as error:
            line = " ".join(str(error).split())
            raise UsageError(f"agent.options={agent.options}: {agent.name} does not take them: {line}") from error

    def train(self, writer: MetricsWriter) -> TuningPolicy:
        """Train to the end and return the policy. Raises Interrupted, after saving, at the first interrupt."""
        recorder = _Recorder(self, writer)
        try:
            left = self.config.steps - self.step
            if left > 0:
                with closing(recorder.progress), compilations_said(recorder.progress.note, recorder.progress.leave_out):
                    self.model.learn(left, callback=recorder, reset_num_timesteps=self.step == 0)
        except KeyboardInterrupt:
            self.save(writer)
            raise Interrupted(
                f"interrupted at step {self.step}; saved in {self.folder.path}; the same command continues"
            ) from None
        recorder.log()
        self.save(writer)
        return self.policy()

    def policy(self) -> TuningPolicy:
        """The greedy policy now."""
        config, tuning = self.config, self.config.tuning
        ppo = config.agent.name == "ppo"
        policy = self.model.policy
        body, head = (
            (policy.mlp_extractor.policy_net, policy.action_net) if ppo else (policy.actor.latent_pi, policy.actor.mu)
        )
        linear = [module for module in [*body, head] if isinstance(module, nn.Linear)]
        about = {"agent": config.agent.name, "seed": config.seed, "evaluations": self.step, "env": config.env.kwargs}
        return policy_of(linear, "clip" if ppo else "tanh", tuning, about)

    def save(self, writer: MetricsWriter) -> None:
        """Write a checkpoint and remove those that are no longer kept. Raises WriteError, and FolderMoved."""
        before = self.folder.path
        moved = self.folder.follow()
        self._checkpoints = self.folder.path / CHECKPOINTS
        writer.flush()
        state = {"model": _state(self.model), "random": self._random.state_dict(), "format": FORMAT, "step": self.step}
        state |= {"marks": self.folder.marks(), "sums": self.folder.sums()}
        state |= {"problems": _generator(self.vector.np_random)}
        try:
            self._checkpoints.mkdir(parents=True, exist_ok=True)
            publish(self._checkpoints, self.step, lambda place: save_state(place / "state.pt", state))
            for old in self._found()[: -self.config.checkpoint.keep]:
                remove(old)
        except OSError as error:
            raise WriteError(self._checkpoints, error) from error
        if moved:
            self.folder.write_config(self.config.effective())
            raise FolderMoved(before, self.folder.path, self.step)

    def find(self) -> dict[str, Any] | None:
        """The latest checkpoint, None where there is none. Raises CorruptFile."""
        found = self._found()
        return load_state(found[-1] / "state.pt") if found else None

    def _found(self) -> list[Path]:
        return [path for path in checkpoints(self._checkpoints) if (path / "state.pt").exists()]

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint. Raises CorruptFile where it is of something else."""
        with restoring(self._found()[-1]):
            _restore(self.model, state["model"])
            self._random.load_state_dict(state["random"])
            generator = state["problems"]
            self.vector.np_random.bit_generator.state = {
                **generator,
                "state": {key: int(value) for key, value in generator["state"].items()},
            }
            state["marks"] = {name: int(mark) for name, mark in dict(state["marks"]).items()}

    def close(self) -> None:
        """Close the environments."""
        self.view.close()


class _Recorder(BaseCallback):
    """Writes what a run measures; evaluates and saves where that is due, between rollouts."""

    def __init__(self, tuner: Tuner, writer: MetricsWriter) -> None:
        super().__init__()
        self._tuner, self._writer, self._means = tuner, writer, Means()
        self._begun = self._saved = time.monotonic()
        self._first = self._evaluated = self._logged = tuner.step
        self.progress = Progress(tuner.config.steps, tuner.step)

    def _on_step(self) -> bool:
        ended = [float(info["episode"]["r"]) for info in self.locals["infos"] if "episode" in info]
        self.progress.update(self._tuner.step, int(self.model._n_updates), ended[-1] if ended else None)
        for info in self.locals["infos"]:
            if "episode" in info:
                row = {"episode/return": info["episode"]["r"], "episode/length": float(info["episode"]["l"])}
                more = {f"episode/{key}": float(info[key]) for key in ("ratio", "shots") if key in info}
                self._means.add(row | more)
        return True

    def _on_rollout_start(self) -> None:
        config, step = self._tuner.config, self._tuner.step
        if step // config.log.every > self._logged // config.log.every:
            self.log()
        every = config.eval.every
        if every and step // every > self._evaluated // every:
            from worldmodel.tuning import evaluation_row, play

            self._evaluated = step
            self._writer.write(step, evaluation_row(*play(self._tuner.policy(), config.tuning, config.eval.episodes)))
        if time.monotonic() - self._saved > 60 * config.checkpoint.minutes:
            self._tuner.save(self._writer)
            self._saved = time.monotonic()

    def log(self) -> None:
        """Write the means of the episodes since the last row."""
        step, seconds = self._tuner.step, time.monotonic() - self._begun
        if step == self._logged:
            return
        speed = {"time/seconds": seconds, "time/steps_per_second": (step - self._first) / max(seconds, 1e-9)}
        losses = {
            f"loss/{key[6:]}": float(value) for key, value in self.logger.name_to_value.items() if key[:6] == "train/"
        }
        self._writer.write(step, self._means.result() | losses | speed)
        self._logged = step


def policy_of(linear: list[nn.Linear], output: Any, tuning: Any, about: dict[str, Any]) -> TuningPolicy:
    """Linear layers with tanh between them as a policy of the environment's options."""
    arrays = [
        (layer.weight.detach().cpu().double().numpy().T, layer.bias.detach().cpu().double().numpy()) for layer in linear
    ]
    return TuningPolicy(tuple(arrays), output, tuning.shape, tuning.budget, tuning.choose_shots, tuning.stop, about)


def _value(value: Any) -> Any:
    """An option's value; lin_X is a schedule that falls from X to 0."""
    if isinstance(value, str) and value.startswith("lin_"):
        start = float(value.removeprefix("lin_"))
        return lambda left: max(left, 0.0) * start  # the last rollout may go beyond the end
    return value


def _optimizers(model: Any) -> dict[str, Any]:
    if isinstance(model, PPO):
        return {"policy": model.policy.optimizer}
    found = {"actor": model.actor.optimizer, "critic": model.critic.optimizer, "entropy": model.ent_coef_optimizer}
    return {name: optimizer for name, optimizer in found.items() if optimizer is not None}


def _state(model: Any) -> dict[str, Any]:
    """All that a model learned, as tensors and scalars."""
    state: dict[str, Any] = {
        "policy": model.policy.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in _optimizers(model).items()},
        "counts": [int(model.num_timesteps), int(model._n_updates)],
    }
    if isinstance(model, SAC):
        buffer = model.replay_buffer
        assert buffer is not None
        end = buffer.buffer_size if buffer.full else buffer.pos
        state["buffer"] = {name: torch.from_numpy(getattr(buffer, name)[:end].copy()) for name in _BUFFER}
        state["place"] = [int(buffer.pos), bool(buffer.full)]
        state["entropy"] = None if model.log_ent_coef is None else model.log_ent_coef.detach().cpu()
    return state


def _restore(model: Any, state: dict[str, Any]) -> None:
    model.policy.load_state_dict(state["policy"])
    for name, optimizer in _optimizers(model).items():
        optimizer.load_state_dict(state["optimizers"][name])
    model.num_timesteps, model._n_updates = state["counts"]
    if isinstance(model, SAC):
        buffer = model.replay_buffer
        assert buffer is not None
        for name, values in state["buffer"].items():
            getattr(buffer, name)[: len(values)] = values.numpy()
        buffer.pos, buffer.full = state["place"]
        if state["entropy"] is not None and model.log_ent_coef is not None:
            model.log_ent_coef.data.copy_(state["entropy"])


def _generator(generator: np.random.Generator) -> dict[str, Any]:
    """A generator's state; numbers beyond 64 bits as text."""
    state: dict[str, Any] = dict(generator.bit_generator.state)
    return {**state, "state": {key: str(value) for key, value in state["state"].items()}}
