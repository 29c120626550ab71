"""The policy of a trained agent, for programs of one's own: `worldmodel.load`."""

import operator
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import Space, spaces

from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import Backend
from hybrid_opt.layers.config import CircuitConfig
from hybrid_opt.paths import user_path
from worldmodel.envs import make_env
from worldmodel.envs.answers import ObservationCheck
from worldmodel.envs.environments import refuse_others
from worldmodel.envs.errors import WrongAnswer
from worldmodel.envs.faults import tell
from worldmodel.envs.spaces.encode import ActionDecoder, ObservationEncoder
from worldmodel.envs.suites.minigrid import Symbols
from worldmodel.envs.wrappers import SelectFields, Stream
from worldmodel.kernels import for_agent
from worldmodel.kernels.supported import small
from worldmodel.launch import hardware
from worldmodel.model.agent import Agent
from worldmodel.model.batch import Carry
from worldmodel.model.making import make_agent
from worldmodel.model.player import Player
from worldmodel.runs.array_file import CorruptFile
from worldmodel.runs.checkpoint import BEST, load_weights, state_file
from worldmodel.runs.saved_state import load_state
from worldmodel.train.config import TrainConfig, run_config
from worldmodel.train.episodes import SEED


class Policy:
    """What a trained agent does in one environment, which takes and gives what Gymnasium does.

    config: of its run; checkpoint: the file or folder that the weights are from; step: at which they were saved;
    frame_rate: frames per second of a video of its environment, one frame for each action.
    """

    def __init__(
        self,
        player: Player,
        config: TrainConfig,
        env: Stream,
        checkpoint: Path,
        step: int,
        backend: Backend | None = None,
    ) -> None:
        self.player, self.config, self._backend = player, config, backend
        self.checkpoint, self.step = checkpoint, step
        self.frame_rate = float(env.metadata.get("render_fps") or 30) / config.env.action_repeat
        self._shown = _observation_wrappers(env)
        self._check = ObservationCheck((self._shown[0].env if self._shown else env).observation_space)
        self._plain = env.layout.plain
        self._encoder = ObservationEncoder(env.layout)
        self._space: Space[Any] = env.action_space
        self._decoder = ActionDecoder(self._space)

    def act(
        self, observation: Any, state: Carry | None = None, greedy: bool = True, seed: int | None = None
    ) -> tuple[Any, Carry]:
        """See one observation and choose an action.

        observation: as the environment of the run's `env.id` gives it, of one environment, without a batch axis (for
        `env.atari=true`: as Gymnasium's AtariPreprocessing of `env.resize` gives it). state: what the last call
        returned, None at the start of an episode. greedy: take the mode of the policy's distribution, else a sample.
        seed: of what is drawn from here on. The model's latents are drawn also where greedy, so an episode repeats to
        the bit when its first call gives the same seed; without one the draws go on.

        Returns the action as the environment takes it, an int for Discrete, else an array of the space's shape and
        type; and the next state. With `env.action_repeat` above 1 the action is meant for that many steps. Raises
        ValueError for an observation that does not fit the environment's space or is not finite, TypeError for a state
        that no call returned.
        """
        if not isinstance(state, Carry | None):
            raise TypeError(
                f"state of type {type(state).__name__}: None or the second value that act returned is accepted"
            )
        arrays = self._encoded(observation)
        if seed is not None:
            self.player.generator.manual_seed(operator.index(seed))  # NumPy's integers too
        first = np.array([state is None])
        memory = self.player.act(arrays, first, self.player.initial(1) if state is None else state, greedy)
        action = self._decoder.decode(self._decoder.choose(self.player.action(memory)))[0]
        return (int(action) if isinstance(self._space, spaces.Discrete) else action), memory

    def close(self) -> None:
        """Close the backend that its circuits run on, if there is one."""
        if self._backend is not None:
            self._backend.close()

    def _encoded(self, observation: Any) -> dict[str, np.ndarray]:
        """An observation as the model sees it, {key: [1, *shape]}."""
        try:
            self._check(observation)
        except WrongAnswer as error:
            raise ValueError(f"the observation is none of {self.config.env.id} ({error})") from error
        for notice in self._check.notices:
            tell(f"{self.config.env.id}: {notice}")
        self._check.notices.clear()
        try:
            for wrapper in self._shown:
                observation = wrapper.observation(observation)
            if self._plain:
                batch: Any = np.asarray(observation)[None]
            else:
                batch = {key: np.asarray(value)[None] for key, value in observation.items()}
            arrays = self._encoder.encode(batch)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise ValueError(f"the observation is none of {self.config.env.id} ({error})") from error
        if fault := self._encoder.fault(arrays, batch):
            raise ValueError(f"{self.config.env.id}: {fault[1]}")
        return arrays


def load(
    logdir: str | Path, checkpoint: str | Path = "latest", device: str = "auto", circuit: CircuitConfig | None = None
) -> Policy:
    """Load the agent of a run, to act with it. The run may still be training.

    logdir: the run's folder; checkpoint: latest, best (of the evaluations during training), or the path of one; device:
    auto, cpu, cuda or cuda:N. Its environment is made once, to learn its spaces. Circuits that have a backend run on
    it, with the ledger and the budget of the run. `close` gives it up. circuit: with other shots, noise or backend than
    the run's.

    Raises RunFolderError where there is no run, CorruptFile where there is no such checkpoint or it is damaged,
    MachineError for the device, and EnvironmentRefused where the environment is not installed or has other spaces than
    the run's. No pickled code runs.

        agent = worldmodel.load("runs/cartpole")
        env = gymnasium.make("CartPole-v1")
        observation, _ = env.reset()
        state, done = None, False
        while not done:
            action, state = agent.act(observation, state)
            observation, reward, terminated, truncated, _ = env.step(action)
            done = terminated or truncated
    """
    path = user_path(logdir, "logdir").absolute()
    config = run_config(path)
    config = config if circuit is None else replace(config, circuit=circuit)
    place = hardware.choose_device(device)
    env = make_env(config.env)
    env.close()
    specs = env.layout.specs, ActionDecoder(env.action_space).spec
    agent = make_agent(config, *specs)
    file, step, seen = _load_weights(agent, path, str(checkpoint))
    if seen is not None:
        refuse_others(config.env.id, *specs, seen)
    generator = torch.Generator(place)
    generator.manual_seed(SEED)
    precision = hardware.choose_precision(config.precision, place, small(agent))
    agent, backend = for_agent(agent.to(place).eval()), None
    player = Player(agent, precision, generator)
    if config.circuit.backend != "statevector" and agent.acts_by_circuits:
        from worldmodel.model.circuits import acting_through, check_backend  # with the simulator: most runs do without

        check = partial(check_backend, config.circuit)
        backend = open_backend(config.circuit.backend, ledger=path / "ledger.sqlite", budget=config.budget, check=check)
        player.acting = acting_through(agent, backend, config.circuit, config.noise)
    return Policy(player, config, env, file.parent if file.name == "state.pt" else file, step, backend)


def _load_weights(agent: Agent, path: Path, checkpoint: str) -> tuple[Path, int, Mapping[str, Any] | None]:
    """Load the weights of a checkpoint: the file they are from, its step, and the state of its environments if any."""
    while True:
        file = _find(path, checkpoint)
        try:
            return file, load_weights(agent, file), load_state(file, mmap=True).get("environments")
        except CorruptFile:
            if file.exists():
                raise  # else the run has just replaced it by a newer one


def _find(path: Path, checkpoint: str) -> Path:
    if checkpoint == "latest":
        return state_file(path)
    folder = path / "checkpoints"
    if checkpoint == "best":
        if not (folder / BEST).exists():
            raise CorruptFile(f"checkpoint=best: {path} has none before its first evaluation; latest is accepted")
        return folder / BEST
    given = user_path(checkpoint, "checkpoint").absolute()
    return state_file(given if given.exists() else folder / checkpoint)


def _observation_wrappers(env: Any) -> list[Symbols | SelectFields]:
    """The wrappers by which the run's observations differ from the environment's own, innermost first."""
    found: list[Symbols | SelectFields] = []
    while env is not env.unwrapped:
        if isinstance(env, Symbols | SelectFields):
            found.insert(0, env)
        env = env.env
    return found
