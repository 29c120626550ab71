"""`python -m worldmodel.baseline`: PPO, DQN or SAC of Stable-Baselines3, in a run folder like that of any run."""

import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from worldmodel.baseline.config import BaselineConfig
from worldmodel.cli.compose import UsageError
from worldmodel.cli.overrides import settings
from worldmodel.envs import ActionSpec, Environments, Episode, ObservationSpec, Records
from worldmodel.launch import hardware
from worldmodel.runs.error_log import error_log
from worldmodel.runs.evaluation import read_evaluation, told, write_evaluation
from worldmodel.runs.folder import RunFolder
from worldmodel.runs.metrics import MetricsWriter
from worldmodel.runs.progress import Progress
from worldmodel.train.episodes import SEED as EVALUATION_SEED
from worldmodel.train.episodes import STREAMS, evaluate

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "dqn": DQN, "sac": SAC}
MODEL = "model.zip"


def run(config: BaselineConfig, words: Sequence[str] = ()) -> int:
    """Train and evaluate; returns the exit code. There are no checkpoints: a run that was stopped begins anew."""
    device = hardware.choose_device(config.device)
    if config.deterministic:
        hardware.make_deterministic(device)
    hardware.set_threads(config.threads, small=True)
    with ExitStack() as stack:
        logdir = f"runs/{config.algorithm}-{config.seed}" if config.logdir == "auto" else config.logdir
        folder = stack.enter_context(RunFolder(logdir))
        stack.enter_context(error_log(lambda: folder.path))
        folder.compare(config.as_dict(), ("logdir", "device", "threads", "env.vectorization"))
        done = read_evaluation(folder.path)
        if done and done["finished"]:
            print(f"{folder.path}: finished{told(done)}")
            return 0
        made = Environments(config.env, config.env.num, config.seed, repeatable=config.deterministic)
        environments = stack.enter_context(closing(made))
        vectorised = Vectorised(environments)
        model = _model(config, vectorised, device)
        folder.begin(config.as_dict())
        writer = stack.enter_context(MetricsWriter(folder.path))
        writer.hparams({"algorithm": config.algorithm} | settings(words, config.as_dict()), ["eval/return"])
        evaluation = stack.enter_context(closing(_Evaluation(config, environments)))
        print(f"{config.env.id}: {config.algorithm} on {device}; logdir {folder.path}")
        recorder = _Recorder(config, writer, vectorised, evaluation)
        with closing(recorder.progress):
            model.learn(total_timesteps=config.steps // config.env.action_repeat, callback=recorder)
        model.save(folder.path / MODEL)
        episodes = config.eval.final_episodes
        played = evaluation.play(model, episodes) if episodes else []
        if played:
            recorder.write_evaluation(played)
        writer.flush()
        result = write_evaluation(folder.path, played, recorder.step, folder.path / MODEL, finished=recorder.step)
        print(f"{config.algorithm}: finished{told(result)} after {recorder.step} steps")
    return 0


def _model(config: BaselineConfig, vectorised: "Vectorised", device: torch.device) -> BaseAlgorithm:
    """The algorithm with its options. Raises UsageError for those that it does not take."""
    kinds = {spec.kind for spec in vectorised.environments.observation_specs.values()}
    single = not isinstance(vectorised.observation_space, spaces.Dict)
    policy = "MultiInputPolicy" if not single else "CnnPolicy" if kinds == {"image"} else "MlpPolicy"
    options = {key: _value(value) for key, value in config.options.items()}
    if config.algorithm != "ppo":  # its default would be memory for a million steps
        options = {"buffer_size": max(1000, config.steps), **options}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the small networks of PPO are slow on a GPU, and the like
            return ALGORITHMS[config.algorithm](policy, vectorised, seed=config.seed, device=device, **options)
    except (TypeError, ValueError, AssertionError, AttributeError) as error:
        line = " ".join(str(error).split())
        raise UsageError(f"options={config.options}: {config.algorithm} does not take them: {line}") from error


def _value(value: Any) -> Any:
    """An option's value; lin_X is a schedule that falls from X to 0."""
    if isinstance(value, str) and value.startswith("lin_"):
        start = float(value.removeprefix("lin_"))
        return lambda left: left * start
    return value


class Vectorised(VecEnv):
    """Our environments as Stable-Baselines3 sees them: the same seeds, observations and actions as our agent has.

    Categorical observations are one-hot vectors; continuous actions are in [-1, 1].
    """

    def __init__(self, environments: Environments) -> None:
        self.environments = environments
        self.episodes: list[Episode] = []  # that ended at the last step
        observation, action = (
            _observation_space(environments.observation_specs),
            _action_space(environments.action_spec),
        )
        super().__init__(environments.num, observation, action)

    def reset(self) -> Any:
        """Start episode 0 of every stream."""
        return self._seen(self.environments.reset())

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for step_wait."""
        self._actions = action_vectors(self.environments.action_spec, actions)

    def step_wait(self) -> Any:
        """Take the step: observations, rewards, dones, infos."""
        step = self.environments.step(self._actions)
        self.episodes = step.episodes
        rewards = step.current.reward.copy()
        dones = np.zeros(self.num_envs, np.bool_)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        last = self._seen(step.ended)
        for row, (stream, reward) in enumerate(zip(step.ended.stream, step.ended.reward, strict=True)):
            rewards[stream], dones[stream] = reward, True
            one = {key: value[row] for key, value in last.items()} if isinstance(last, dict) else last[row]
            cut = bool(step.ended.truncated[row] and not step.ended.terminated[row])
            infos[stream] = {"terminal_observation": one, "TimeLimit.truncated": cut}
        return self._seen(step.current), rewards, dones, infos

    def _seen(self, records: Records) -> Any:
        return seen(self.environments.observation_specs, records.observation)

    def close(self) -> None:
        """Nothing: whoever made the environments closes them."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the streams: none but render_mode, which is None."""
        if attr_name == "render_mode":
            return [None] * self.num_envs
        raise AttributeError(attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refused: the streams are not to be changed."""
        raise AttributeError(attr_name)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Refused: the streams have no other methods."""
        raise AttributeError(method_name)

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No stream has a wrapper of Stable-Baselines3; episodes are counted here."""
        return [False] * self.num_envs


def _observation_space(specs: Mapping[str, ObservationSpec]) -> spaces.Space[Any]:
    def box(spec: ObservationSpec) -> spaces.Box:
        if spec.kind == "image":
            return spaces.Box(0, 255, spec.shape, np.uint8)
        low, high, width = (0, 1, sum(spec.classes)) if spec.classes else (-np.inf, np.inf, spec.shape[0])
        return spaces.Box(low, high, (width,), np.float32)

    boxes: dict[str, spaces.Space[Any]] = {key.replace("/", "_"): box(spec) for key, spec in specs.items()}
    return next(iter(boxes.values())) if len(boxes) == 1 else spaces.Dict(boxes)


def _action_space(spec: ActionSpec) -> spaces.Space[Any]:
    if spec.kind == "continuous":
        return spaces.Box(-1.0, 1.0, (spec.width,), np.float32)
    return spaces.Discrete(spec.sizes[0]) if len(spec.sizes) == 1 else spaces.MultiDiscrete(list(spec.sizes))


def seen(specs: Mapping[str, ObservationSpec], observation: Mapping[str, NDArray[Any]]) -> Any:
    """Observations {key: [E, ...]} as the spaces above have them."""
    values = {
        key.replace("/", "_"): one_hot(spec.classes, observation[key]) if spec.classes else observation[key].copy()
        for key, spec in specs.items()
    }
    return next(iter(values.values())) if len(values) == 1 else values


def one_hot(classes: tuple[int, ...], indices: NDArray[Any]) -> NDArray[np.float32]:
    """Class indices [E, n] as concatenated one-hot vectors [E, sum(classes)]."""
    parts = [np.eye(count, dtype=np.float32)[indices[:, place]] for place, count in enumerate(classes)]
    return np.concatenate(parts, 1)


def action_vectors(spec: ActionSpec, actions: NDArray[Any]) -> NDArray[np.float32]:
    """Actions of the spaces above as our environments take them: float32 [E, width]."""
    if spec.kind == "continuous":
        return np.asarray(actions, np.float32)
    return one_hot(spec.sizes, np.asarray(actions).reshape(len(actions), -1))


class _Greedy:
    """A model as `evaluate` plays it; its memory is the last action vectors."""

    def __init__(self, model: BaseAlgorithm, environments: Environments) -> None:
        self._model, self._specs, self._spec = model, environments.observation_specs, environments.action_spec

    def initial(self, rows: int) -> NDArray[np.float32]:
        return np.zeros((rows, self._spec.width), np.float32)

    def act(self, observation: Mapping[str, NDArray[Any]], is_first: Any, memory: Any, greedy: bool) -> Any:
        actions, _ = self._model.predict(seen(self._specs, observation), deterministic=greedy)
        return action_vectors(self._spec, actions)

    def action(self, memory: NDArray[np.float32]) -> NDArray[np.float32]:
        return memory


class _Evaluation:
    """Greedy evaluations on the episodes that every run is evaluated on."""

    def __init__(self, config: BaselineConfig, beside: Environments) -> None:
        self._config, self._beside = config, beside
        self._environments: Environments | None = None

    def play(self, model: BaseAlgorithm, episodes: int) -> list[Episode]:
        streams = min(episodes, STREAMS)
        if self._environments is None or self._environments.num != streams:
            self.close()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # those for training have told it
                config, repeatable = self._config.env, self._config.deterministic
                self._environments = Environments(
                    config, streams, EVALUATION_SEED, True, repeatable=repeatable, beside=self._beside
                )
        return evaluate(_Greedy(model, self._environments), self._environments, episodes)

    def close(self) -> None:
        if self._environments is not None:
            self._environments.close()
            self._environments = None


class _Recorder(BaseCallback):
    """Writes what a run measures, evaluates it when that is due, and ends it with its steps or its time."""

    def __init__(
        self, config: BaselineConfig, writer: MetricsWriter, vectorised: Vectorised, evaluation: _Evaluation
    ) -> None:
        super().__init__()
        self._config, self._writer, self._vectorised, self._evaluation = config, writer, vectorised, evaluation
        self._begun = time.monotonic()
        self._evaluated = self.step = 0
        self.progress = Progress(config.steps)

    def _on_step(self) -> bool:
        config, every = self._config, self._config.eval.every
        self.step = self.num_timesteps * config.env.action_repeat
        for episode in self._vectorised.episodes:
            self._writer.write(self.step, {"episode/return": episode.ret, "episode/length": episode.length})
        returns = [episode.ret for episode in self._vectorised.episodes]
        self.progress.update(self.step, int(self.model._n_updates), returns[-1] if returns else None)
        seconds = time.monotonic() - self._begun
        going = self.step < config.steps and (config.seconds is None or seconds < config.seconds)
        if going and every and self.step // every > self._evaluated // every:
            self.write_evaluation(self._evaluation.play(self.model, config.eval.episodes))
            self._evaluated = self.step
        return going

    def write_evaluation(self, played: list[Episode]) -> None:
        """Write a row with the returns of an evaluation, and how far the run is."""
        returns = np.array([episode.ret for episode in played])
        row = {"eval/return": float(returns.mean()), "eval/return_std": float(returns.std())}
        row |= {"updates": float(self.model._n_updates), "time/seconds": time.monotonic() - self._begun}
        self._writer.write(self.step, row)
