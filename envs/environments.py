"""Environments: E vectorised streams of experience that can be stopped and continued."""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from worldmodel.envs.action_log import ActionLog
from worldmodel.envs.config import EnvConfig
from worldmodel.envs.errors import EnvironmentFault, EnvironmentRefused
from worldmodel.envs.faults import tell
from worldmodel.envs.spaces.encode import ActionDecoder, ObservationEncoder, misfit
from worldmodel.envs.spaces.spaces import ActionSpec, ObservationSpec
from worldmodel.envs.vector import Vector

Array = npt.NDArray[Any]
MAKING = 2**32 - 1  # in the place of an episode's number: before the first one


@dataclass(slots=True)
class Records:
    """R records, each the arrival at one observation of one stream.

    stream int64 [R]; observation {key: [R, *spec.shape]}; reward float32 [R], of the step that led here; is_first,
    terminated, truncated bool [R].
    """

    stream: npt.NDArray[np.int64]
    observation: dict[str, Array]
    reward: npt.NDArray[np.float32]
    is_first: npt.NDArray[np.bool_]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.stream)

    def __getitem__(self, rows: Array) -> "Records":
        """The records of a mask or of indices [R']."""
        observation = {key: value[rows] for key, value in self.observation.items()}
        flags = self.is_first[rows], self.terminated[rows], self.truncated[rows]
        return Records(self.stream[rows], observation, self.reward[rows], *flags)


@dataclass(frozen=True, slots=True)
class Episode:
    """Statistics of an ended episode: its stream, its environment steps (action repeats counted), its return."""

    stream: int
    length: int
    ret: float


@dataclass(slots=True)
class Step:
    """What one step of all streams brought.

    current [E]: where every stream is now, the first record of the next episode where one has just ended; ended
    [R >= 0]: the last records of those episodes; episodes: their statistics, in the same order.
    """

    current: Records
    ended: Records
    episodes: list[Episode]


class Environments:
    """E streams of one environment.

    Episode k of stream e starts with a seed that depends on (seed, evaluation, e, k) only, so an episode is determined
    by its number and its actions, in this process or in workers. Training and evaluation never share a seed. It also
    seeds the global random states that an environment sees in a worker, and in this process if it is `repeatable`.

    current: the records [E] of the last reset or step.
    """

    def __init__(
        self,
        config: EnvConfig,
        num: int,
        seed: int,
        evaluation: bool = False,
        render: bool = False,
        repeatable: bool = False,
        beside: "Environments | None" = None,
    ) -> None:
        """Make E = num environments.

        render: `render` will be called; beside: others of this id, of which no notice is told again.

        Raises EnvironmentRefused (UnsupportedSpace among them) and EnvironmentFault. What is left out or changed of
        the observations is told in one warning each.
        """
        self.num = num
        self.action_repeat = config.action_repeat
        self._id = config.id
        self._seed = seed
        self._evaluation = evaluation
        making = [episode_seed(seed, evaluation, stream, MAKING) for stream in range(num)]
        self._vector = Vector(config, making, evaluation, render, repeatable)
        self._encoder = ObservationEncoder(self._vector.layout)
        self._decoder = ActionDecoder(self._vector.action_space)
        self.observation_specs: dict[str, ObservationSpec] = self._vector.layout.specs
        self.action_spec: ActionSpec = self._decoder.spec
        self._streams = np.arange(num)
        self._told: set[str] = beside._told if beside else set()
        self._episode = np.zeros(num, np.int64)  # number of the running episode
        self._log = ActionLog(num, len(self.action_spec.sizes), self._decoder.dtype)
        self._none = self._first(
            {key: np.zeros((0, *spec.shape), spec.dtype) for key, spec in self.observation_specs.items()}
        )
        self.current = self._none
        for notice in self._vector.layout.notices:
            self._tell_once(notice, notice)

    def reset(self) -> Records:
        """Start episode 0 of every stream, also when episodes are running; returns the records [E]."""
        episode = np.zeros(self.num, np.int64)
        raw, infos = self._vector.reset(self._seeds(episode, None), evaluation=self._evaluation)
        if "masked" in infos and not self._evaluation:
            self._tell_once("mask", "info['action_mask'] is ignored: every action may be chosen")
        self.current = self._first(self._encode(raw, None))
        self._episode = episode
        self._log.clear(np.ones(self.num, np.bool_))
        return self.current

    def step(self, actions: npt.NDArray[np.float32]) -> Step:
        """Take one action vector per stream, float32 [E, width], and start the next episode where one ended.

        After EnvironmentFault the state is still that before the step.
        """
        chosen = self._decoder.choose(actions)
        raw, rewards, terminated, truncated, infos = self._vector.step(self._decoder.decode(chosen))
        if "notice" in infos:
            for notice in infos["notice"][infos["_notice"]]:
                self._tell_once(notice.partition(" has ")[0], notice)
        observation = self._encode(raw, rewards)
        reward = rewards.astype(np.float32)
        done = terminated | truncated
        is_first = np.zeros(self.num, np.bool_)
        current = Records(self._streams.copy(), observation, reward, is_first, terminated, truncated)
        ended, episodes = self._none, []
        if done.any():
            ended = current[done]
            episodes = [
                Episode(int(stream), int(infos["length"][stream]), float(infos["return"][stream]))
                for stream in ended.stream
            ]
            self._start_next(done, current)
        self._log.append(chosen)
        if episodes:
            self._episode += done
            self._log.clear(done)
        self.current = current
        return Step(current, ended, episodes)

    def render(self) -> list[npt.NDArray[np.uint8]]:
        """One frame uint8 [H, W, 3] of every stream."""
        return self._vector.render()

    def close(self) -> None:
        """Close all environments. Never hangs, also not after a fault."""
        self._vector.close()

    def lent(self, seed: int) -> "Environments":
        """The same streams for an evaluation, in episodes of its seeds. `take_back` is called after it."""
        guest = copy(self)
        guest._seed, guest._evaluation = seed, True
        guest._log = ActionLog(self.num, len(self.action_spec.sizes), self._decoder.dtype)
        return guest

    def take_back(self) -> list[int]:
        """Bring back the episodes that were running when the streams were lent.

        Returns the streams whose running episode could not be brought back: the next one starts there.
        """
        starting = self.current.is_first
        return [stream for stream in self.load_state_dict(self.state_dict()) if not starting[stream]]

    def state_dict(self) -> dict[str, Any]:
        """The running episodes: number, actions since the reset and current record of every stream, as tensors."""
        import torch

        current = self.current
        return {
            "episode": torch.tensor(self._episode),
            "actions": [torch.tensor(self._log.actions(stream)) for stream in range(self.num)],
            "observation": {key: torch.tensor(value) for key, value in current.observation.items()},
            "reward": torch.tensor(current.reward),
            "is_first": torch.tensor(current.is_first),
            "classes": {key: list(spec.classes) for key, spec in self.observation_specs.items()},
            "sizes": list(self.action_spec.sizes),
        }

    def load_state_dict(self, state: dict[str, Any]) -> list[int]:
        """Bring the running episodes back: reset with their seeds, replay their actions, compare what is seen.

        Where the observation differs from the saved one in any bit, or the episode ended on the way, the environment
        is not determined by its seed; the next episode starts there. Returns these streams.

        Raises EnvironmentRefused where the environment has other spaces than the saved one.
        """
        episode = state["episode"].numpy().copy()
        if len(episode) != self.num:
            raise ValueError(f"the state has {len(episode)} streams, these environments have {self.num}")
        actions = [part.numpy() for part in state["actions"]]
        saved = {key: value.numpy().copy() for key, value in state["observation"].items()}
        refuse_others(self._id, self.observation_specs, self.action_spec, state)
        replay = {stream: self._decoder.decode(part) for stream, part in enumerate(actions) if len(part)}
        raw, infos = self._vector.reset(self._seeds(episode, None), replay=replay)
        observation = self._encode(raw, None)
        differs = infos.get("diverged", np.zeros(self.num, np.bool_)).copy()
        for key, value in observation.items():
            for stream in range(self.num):
                differs[stream] |= value[stream].tobytes() != saved[key][stream].tobytes()
        no = np.zeros(self.num, np.bool_)
        reward, first = state["reward"].numpy().copy(), state["is_first"].numpy().copy()
        current = Records(self._streams.copy(), saved, reward, first, no, no.copy())
        self._episode = episode
        if differs.any():
            self._start_next(differs, current)
            self._episode = episode + differs
        self._log.load(actions)
        self._log.clear(differs)
        self.current = current
        return [int(stream) for stream in np.flatnonzero(differs)]

    def _start_next(self, done: npt.NDArray[np.bool_], current: Records) -> None:
        """Start the next episode in some streams and put its first record into their rows of `current`."""
        raw, _ = self._vector.reset(self._seeds(self._episode + 1, done), mask=done, evaluation=self._evaluation)
        start = self._first(self._encode(raw, None))
        for key, value in current.observation.items():
            value[done] = start.observation[key][done]
        current.reward[done] = 0
        current.is_first[done] = True
        current.terminated[done] = False
        current.truncated[done] = False

    def _first(self, observation: dict[str, Array]) -> Records:
        """The first records of episodes."""
        size = len(next(iter(observation.values())))
        no = np.zeros(size, np.bool_)
        return Records(np.arange(size), observation, np.zeros(size, np.float32), ~no, no, no.copy())

    def _tell_once(self, key: str, notice: str) -> None:
        if key not in self._told:
            self._told.add(key)
            tell(f"{self._id}: {notice}")

    def _encode(self, raw: Any, rewards: Array | None) -> dict[str, Array]:
        """Encode observations; raises EnvironmentFault where they or the rewards make no sense."""
        with np.errstate(over="ignore", invalid="ignore"):
            observation = self._encoder.encode(raw)
            fault = self._encoder.fault(observation, raw)
            if fault is None and rewards is not None:
                reward = rewards.astype(np.float32)
                if not math.isfinite(reward.sum()) and not np.isfinite(reward).all():
                    stream = int(np.flatnonzero(~np.isfinite(reward))[0])
                    fault = stream, f"reward {misfit(rewards[stream])}"
        if fault is not None:
            raise EnvironmentFault(f"{self._id}, stream {fault[0]}: {fault[1]}")
        return observation

    def _seeds(self, episode: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_] | None) -> list[int]:
        """The seeds of the streams' episodes; 0 for those outside the mask, which are not reset."""
        return [
            episode_seed(self._seed, self._evaluation, stream, number) if mask is None or mask[stream] else 0
            for stream, number in enumerate(episode.tolist())
        ]


def episode_seed(seed: int, evaluation: bool, stream: int, episode: int) -> int:
    """The seed of an episode, in [0, 2^30) for training and in [2^30, 2^31) for evaluation."""
    word = np.random.SeedSequence((seed, stream, episode)).generate_state(1)[0]
    return int(word >> 2) + (int(evaluation) << 30)


def refuse_others(
    env_id: str, specs: Mapping[str, ObservationSpec], action: ActionSpec, state: Mapping[str, Any]
) -> None:
    """Raise EnvironmentRefused where a state of Environments is of other spaces than these.

    States of earlier code hold no numbers of classes, of which the sums show in the shapes of an agent's weights.
    """
    classes = state.get("classes", {key: spec.classes for key, spec in specs.items()})
    was = {
        key: f"{value.numpy().dtype} {tuple(value.shape[1:])}{_counted(classes.get(key, ()), value.shape[1:])}"
        for key, value in state["observation"].items()
    }
    now = {key: f"{spec.dtype} {spec.shape}{_counted(spec.classes, spec.shape)}" for key, spec in specs.items()}
    part, sizes = state["actions"][0], state.get("sizes", action.sizes)
    taken = _choices(part.is_floating_point(), part.shape[1], sizes)
    takes = _choices(action.kind == "continuous", len(action.sizes), action.sizes)
    for name, before, after in (("observations", was, now), ("actions", {"": taken}, {"": takes})):
        if before != after:
            raise EnvironmentRefused(
                f"env.id={env_id}: its {name} are {_listed(after)}, those of the checkpoint are {_listed(before)}; "
                "the environment as it was then is accepted"
            )


def _choices(continuous: bool, count: int, sizes: Sequence[int]) -> str:
    return f"{count} values" if continuous else f"{count} choices{_counted(sizes, (count,))}"


def _counted(classes: Sequence[int], shape: Sequence[int]) -> str:
    """Numbers of classes as text, where they are those of an array of this shape."""
    return f" of {', '.join(map(str, classes))} classes" if (len(classes),) == tuple(shape) else ""


def _listed(parts: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {text}".strip() for key, text in parts.items())
