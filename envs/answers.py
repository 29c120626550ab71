"""What the user's environment answers: checked against its spaces, and counted."""

import re
from collections.abc import Mapping
from typing import Any, Never, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import Space, spaces
from gymnasium.wrappers import OrderEnforcing, TimeLimit
from worldmodel.envs.errors import WrongAnswer
from worldmodel.envs.faults import text_of
from worldmodel.envs.spaces.spaces import check_space

Info = dict[str, Any]
UNDECLARED = "keys that its space does not declare are left out"
OLD = "this environment speaks the old Gym API; accepted: that of gymnasium"
RESET = "reset(self, *, seed=None, options=None) is accepted"


class ObservationCheck:
    """Whether observations are of their space: their keys, shapes, kinds of numbers, and values that a cast changes.

    The first one must also lie within the bounds; a later one that leaves them is told once a key, in `notices`. So are
    keys of the first one that the space does not declare.
    """

    def __init__(self, space: Space[Any]) -> None:
        self._space = space
        self._first = True
        self._bounded: dict[str, bool] = {}
        self.notices: list[str] = []

    def __call__(self, observation: Any) -> None:
        """Check one observation. Raises WrongAnswer."""
        self._check(self._space, observation, "")
        self._first = False

    def _check(self, space: Space[Any], value: Any, key: str) -> None:
        match space:
            case spaces.Dict():
                if not isinstance(value, Mapping) or any(part not in value for part in space.spaces):
                    given = f"keys {sorted(map(str, value))}" if isinstance(value, Mapping) else type(value).__name__
                    raise _wrong(key, given, f"a dict with the keys {sorted(map(str, space.spaces))}")
                if self._first and (more := [str(part) for part in value if part not in space.spaces]):
                    self.notices.append(f"observation {key or 'observation'!r}: {UNDECLARED}: {', '.join(more)}")
                for name, part in space.spaces.items():
                    self._check(part, value[name], f"{key}/{name}" if key else name)
            case spaces.Tuple():
                if not isinstance(value, (tuple, list)) or len(value) != len(space.spaces):
                    size = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
                    raise _wrong(key, f"{type(value).__name__}{size}", f"a tuple of {len(space.spaces)}")
                for index, part in enumerate(space.spaces):
                    self._check(part, value[index], f"{key}/{index}" if key else str(index))
            case spaces.Box() | spaces.Discrete() | spaces.MultiDiscrete() | spaces.MultiBinary():
                self._check_leaf(space, value, key)

    def _check_leaf(self, space: Space[Any], value: Any, key: str) -> None:
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise _wrong(key, f"a ragged {type(value).__name__}", f"shape {space.shape}") from error
        dtype = np.dtype(space.dtype)
        if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and dtype.kind != "f"):
            given = array.dtype if array.dtype.kind in "biuf" else type(value).__name__
            raise _wrong(key, f"type {given}", f"{dtype}")
        if array.shape != space.shape:
            raise _wrong(key, f"shape {array.shape}", f"{space.shape}")
        if array.dtype != dtype and dtype.kind != "f":
            changed = array.astype(dtype) != array
            if changed.any():
                raise _wrong(key, f"value {array[changed].flat[0]}", f"{dtype}")
        if isinstance(space, spaces.Box) and self._bounded.setdefault(key, _bounded(space)):
            with np.errstate(over="ignore"):
                cast = array.astype(dtype, copy=False)
            outside = (cast < space.low) | (cast > space.high)
            if outside.any() and np.isfinite(cast).all():
                low, high = space.low[outside].flat[0], space.high[outside].flat[0]
                fault = _wrong(key, f"value {cast[outside].flat[0]}", f"{low} to {high}")
                if self._first:
                    raise fault
                self._bounded[key] = False
                self.notices.append(str(fault))


class Answers(gym.Wrapper[Any, Any, Any, Any]):
    """Directly around the user's environment: checks what it answers, and counts the running episode.

    length, ret: steps and sum of the rewards of the episode, whatever the environment puts into its infos.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        for name in ("observation_space", "action_space"):
            check_space(name, getattr(env, name, None))
        super().__init__(env)
        self._check = ObservationCheck(env.observation_space)
        self.length = 0
        self.ret = 0.0

    @classmethod
    def around(cls, env: gym.Env[Any, Any]) -> tuple[gym.Env[Any, Any], "Answers"]:
        """Put it below the wrappers that Gymnasium adds, which unpack the answers themselves."""
        outer, inner = None, env
        while isinstance(inner, (TimeLimit, OrderEnforcing)):
            outer, inner = inner, inner.env
        answers = cls(inner)
        if outer is None:
            return answers, answers
        outer.env = answers
        return env, answers

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        """Start an episode."""
        try:
            answer: Any = self.env.reset(seed=seed, options=options)
        except TypeError as error:
            if re.search(r"reset\(\) got an unexpected keyword argument '(seed|options)'", text_of(error)):
                raise WrongAnswer(f"{error}; {RESET}") from error
            raise
        if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict)):
            self._refuse_reset(answer)
        self._check(answer[0])
        self.length, self.ret = 0, 0.0
        return answer[0], answer[1]

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, Info]:
        """Step the environment."""
        answer: Any = self.env.step(action)
        if not (isinstance(answer, tuple) and len(answer) == 5):
            old = f": {OLD}" if isinstance(answer, tuple) and len(answer) == 4 else ""
            raise WrongAnswer(
                f"step() returned {_show(answer)}, no (observation, reward, terminated, truncated, info){old}"
            )
        observation, reward, terminated, truncated, info = answer
        self._check(observation)
        reward, terminated, truncated = _number(reward), _flag("terminated", terminated), _flag("truncated", truncated)
        self.length += 1
        self.ret += reward
        return observation, reward, terminated, truncated, info

    def _refuse_reset(self, answer: Any) -> Never:
        """Say what reset returned. It is that of the old API where it fits the space, as the bare observation does."""
        if isinstance(answer, tuple) and len(answer) == 2:
            given = f"an info of type {type(answer[1]).__name__}, no (observation, dict)"
        else:
            given = f"{_show(answer)}, no (observation, info)"
        try:
            self._check(answer)
        except WrongAnswer:
            raise WrongAnswer(f"reset() returned {given}") from None
        raise WrongAnswer(f"reset() returned {given}: {OLD}")

    def take_notices(self) -> list[str]:
        """What has to be told since the last call."""
        notices, self._check.notices = self._check.notices, []
        return notices


def _wrong(key: str, given: str, declared: str) -> WrongAnswer:
    return WrongAnswer(f"observation {key or 'observation'!r} has {given}, its space declares {declared}")


def _bounded(space: spaces.Box) -> bool:
    """Whether the type of the space can leave its bounds."""
    if space.dtype is not None and space.dtype.kind in "iu":
        limits: Any = np.iinfo(space.dtype.name)
        return bool((space.low > limits.min).any() or (space.high < limits.max).any())
    return bool(np.isfinite(space.low).any() or np.isfinite(space.high).any())


def _number(reward: Any) -> float:
    """A reward as Python's float: sums in the type of the environment, such as float16, would lose what is added."""
    if isinstance(reward, float):
        return float(reward)
    number = reward.reshape(()) if isinstance(reward, np.ndarray) and reward.size == 1 else reward
    try:
        if isinstance(number, SupportsFloat):
            return float(number)
    except (TypeError, ValueError, OverflowError):  # an array of several numbers, an integer of hundreds of digits
        pass
    raise WrongAnswer(f"step() returned the reward {_short(reward)}, a finite number is accepted")


def _flag(name: str, value: Any) -> bool:
    """Whether an episode was terminated or truncated. None is no."""
    if value is None or isinstance(value, (bool, np.bool_)):
        return bool(value)
    array = np.asarray(value)
    if array.size == 1 and array.dtype.kind in "biuf" and array.item() in (0, 1):
        return bool(array.item())
    raise WrongAnswer(f"step() returned {name} = {_short(value)}, a bool is accepted")


def _short(value: Any) -> str:
    """A value and its type on one line; integers of thousands of digits have no text."""
    text = " ".join(repr(value).split()) if not isinstance(value, int) else f"of {value.bit_length()} bits"
    return f"{text[:60]}{'...' if len(text) > 60 else ''} ({type(value).__name__})"


def _show(answer: Any) -> str:
    return f"{len(answer)} values" if isinstance(answer, tuple) else type(answer).__name__
