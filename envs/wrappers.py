"""Wrappers around one environment: repeated actions, selected observation fields, and the stream that trains."""

import contextlib
import traceback
from dataclasses import dataclass
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import Space, spaces
from worldmodel.envs.answers import Answers
from worldmodel.envs.errors import EnvironmentFault, WorkerTraceback, WrongAnswer
from worldmodel.envs.faults import close, described, tell
from worldmodel.envs.randomness import OwnRandom, seed_globals
from worldmodel.envs.spaces.spaces import Layout

Info = dict[str, Any]


class ActionRepeat(gym.Wrapper[Any, Any, Any, Any]):
    """Gives every action `repeat` times to the environment, sums the rewards and stops at the end of the episode."""

    def __init__(self, env: gym.Env[Any, Any], repeat: int) -> None:
        super().__init__(env)
        self._repeat = repeat

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, Info]:
        """Step up to `repeat` times; the observation and the info are those of the last step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        total = float(reward)
        for _ in range(self._repeat - 1):
            if terminated or truncated:
                break
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
        return observation, total, terminated, truncated, info


class EvaluationLimit(gym.Wrapper[Any, Any, Any, Any]):
    """Truncates the episodes of evaluations: all (`always`), or those that are reset with the option "evaluation"."""

    def __init__(self, env: gym.Env[Any, Any], limit: int, always: bool) -> None:
        super().__init__(env)
        self._limit, self._always = limit, always
        self._left = 0  # steps; 0 for no limit

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        """Start an episode; the environment itself never sees the option."""
        self._left = self._limit if self._always or options else 0
        return self.env.reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, Info]:
        """Step the environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._left -= 1
        return observation, reward, terminated, truncated or self._left == 0, info


class SelectFields(gym.ObservationWrapper[Any, Any, Any]):
    """Shows the fields of a layout as a flat dict, with images as (H, W, C)."""

    def __init__(self, env: gym.Env[Any, Any], layout: Layout) -> None:
        super().__init__(env)
        self._fields = layout.fields
        self.observation_space = layout.space

    def observation(self, observation: Any) -> dict[str, Any]:
        """Pick and convert the fields of one observation."""
        result = {}
        for field in self._fields:
            value = observation
            for part in field.path:
                value = value[part]
            result[field.key] = value if field.image is None else field.image(np.asarray(value))
        return result


@dataclass(frozen=True)
class Fault:
    """An exception inside a stream: what to tell, and the exception (its traceback where it crosses processes).

    No exception where it is ours, about what the environment gave.
    """

    message: str
    cause: BaseException | None


class Stream(gym.Wrapper[Any, Any, Any, Any]):
    """The outermost wrapper of stream number `index`.

    An exception of the environment becomes an info entry "fault", so it travels from worker processes like any result.
    A reset with options {"replay": {index: actions [T, ...]}} also takes these actions, which brings a running episode
    back; info "diverged" tells that the episode ended on the way. No other info than the statistics of an ended episode
    passes: the rest is not used and may not even be picklable.

    In a worker process an episode's seed also seeds the global random states, with which all workers start alike; in
    this process it seeds `own`, those that the environment sees, if it is given.

    unclosed: what the main process has to tell of a closing that failed in a worker; here it is warned of.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        env_id: str,
        index: int,
        layout: Layout,
        remote: bool,
        answers: Answers,
        own: OwnRandom | None = None,
    ) -> None:
        super().__init__(env)
        self.layout = layout
        self.unclosed: list[str] = []
        self._frame: tuple[int, ...] = ()  # the shape of its frames
        self._name = f"{env_id}, stream {index}"
        self._index = index
        self._remote = remote
        self._answers = answers
        self._seeded = remote or own is not None
        self._random = own or contextlib.nullcontext()

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        """Start an episode, and replay actions into it where the options hold some for this stream."""
        options = options or {}
        actions = options.get("replay", {}).get(self._index, ())
        evaluation = {"evaluation": True} if options.get("evaluation") else None
        try:
            with self._random:
                if self._seeded and seed is not None:
                    seed_globals(seed)
                observation, info = self.env.reset(seed=seed, options=evaluation)
                for action in actions:
                    observation, _, terminated, truncated, _ = self.env.step(action)
                    if terminated or truncated:
                        return observation, {"diverged": True}
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return _zeros(self.observation_space), self._fault(error)
        return observation, {"masked": True} if "action_mask" in info else {}

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, Info]:
        """Step the environment."""
        try:
            with self._random:
                observation, reward, terminated, truncated, _ = self.env.step(action)
            info: Info = {}
            if terminated or truncated:
                info = {"length": self._answers.length, "return": float(self._answers.ret)}
            if notices := self._answers.take_notices():
                info["notice"] = "; ".join(notices)
            return observation, float(reward), bool(terminated), bool(truncated), info
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return _zeros(self.observation_space), 0.0, False, True, self._fault(error)

    def render(self) -> Any:
        """One frame, uint8 [H, W, 3], always of the same size. Raises EnvironmentFault where there is none."""
        try:
            with self._random:
                frame: Any = self.env.render()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise EnvironmentFault(f"stream {self._index}: rendering failed ({described(error)})") from error
        given = f"{frame.dtype} {list(frame.shape)}" if isinstance(frame, np.ndarray) else type(frame).__name__
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise EnvironmentFault(f"stream {self._index}: render() returned {given}; accepted: uint8 [H, W, 3]")
        self._frame = self._frame or frame.shape
        if frame.shape != self._frame:
            size = f"uint8 {list(self._frame)}, as the first frame was"
            raise EnvironmentFault(f"stream {self._index}: render() returned {given}; accepted: {size}")
        return frame

    def close(self) -> None:
        """Close the environment. Where that fails, one line is told."""
        with self._random:
            close(self.env, self._name, self.unclosed.append if self._remote else tell)

    def _fault(self, error: BaseException) -> Info:
        cause = None if isinstance(error, WrongAnswer) else error
        if cause and self._remote:
            cause = WorkerTraceback("".join(traceback.format_exception(cause)))
        return {"fault": Fault(described(error), cause)}


def _zeros(space: Space[Any]) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _zeros(part) for key, part in space.spaces.items()}
    zeros: npt.NDArray[Any] = np.zeros(space.shape or (), space.dtype)
    return zeros
