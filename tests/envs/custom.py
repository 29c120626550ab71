"""Small environments with known behaviour and known faults, registered as tests.envs.custom:NAME-v0."""

import asyncio
import multiprocessing
import os
import random
import subprocess
import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

Result = tuple[Any, float, bool, bool, dict[str, Any]]


class Counting(gym.Env[Any, Any]):
    """Observes (step of the episode, last action, noise from the seed); reward 1, 2, 4, ... in the steps."""

    def __init__(self, terminate_at: int | None = None, truncate_at: int | None = None) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = spaces.Discrete(4, start=10)
        self._ends = terminate_at, truncate_at
        self._t = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t = 0
        return self._observe(-1), {}

    def step(self, action: Any) -> Result:
        assert self.action_space.contains(action), action
        self._t += 1
        terminate_at, truncate_at = self._ends
        info = {"junk": lambda: None}  # not picklable
        return self._observe(action), 2.0 ** (self._t - 1), self._t == terminate_at, self._t == truncate_at, info

    def _observe(self, action: int) -> Any:
        return np.array([self._t, action, self.np_random.normal()])


class Unseeded(Counting):
    """Its noise does not come from the seed."""

    def _observe(self, action: int) -> Any:
        return np.array([self._t, action, np.random.default_rng().normal()])


class CustomError(Exception):
    """Neither picklable nor constructible from its text."""

    def __init__(self, number: int, thing: Any) -> None:
        super().__init__(f"number {number}\nis bad", thing)
        self.thing = thing

    def __str__(self) -> str:
        return str(self.args[0])


class MuteError(BaseException):
    """Has no text, and is no Exception."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Broken(Counting):
    """Fails at step `at` in the way `how`."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, how: str, at: int = 3, render_mode: str | None = None) -> None:
        super().__init__()
        self.render_mode = render_mode
        self._how, self._at = how, at
        if how == "category":
            self.observation_space = spaces.Discrete(3, start=5)

    def _observe(self, action: int) -> Any:
        return np.int64(6) if self._how == "category" else super()._observe(action)

    def step(self, action: Any) -> Result:
        observation, reward, _, _, info = super().step(action)
        if self._how == "slow":
            time.sleep(0.05)
        if self._t == self._at:
            match self._how:
                case "nan":
                    observation[1] = np.nan
                case "overflow":
                    observation[1] = 1e300
                case "reward":
                    reward = float("inf")
                case "large reward":
                    reward = 1e39
                case "category":
                    observation = np.int64(8)
                case "raise":
                    raise CustomError(7, lambda: None)
                case "sysexit":
                    raise SystemExit(3)
                case "cancel":
                    raise asyncio.CancelledError
                case "mute":
                    raise MuteError  # in a step
                case "exit":
                    os._exit(3)
                case "shape":
                    observation = np.zeros(2)
        return observation, reward, False, False, info

    def render(self) -> Any:
        frames: dict[str, Any] = {
            "float frame": np.full((8, 6, 3), 0.5),
            "no frame": None,
            "list frame": [np.zeros((8, 6, 3), np.uint8)],
            "gray frame": np.zeros((8, 6), np.uint8),
            "growing frame": np.zeros((8 + self._t, 6, 3), np.uint8),
        }
        if self._how in frames:
            return frames[self._how]
        raise CustomError(9, lambda: None)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if self._how == "reset" and self._t > 0:
            raise RuntimeError("no second episode")
        return super().reset(seed=seed, options=options)


SPACES: dict[str, spaces.Space[Any]] = {
    "nested": spaces.Dict(
        {
            "state": spaces.Dict({"position": spaces.Box(-1, 1, (2, 2)), "gear": spaces.Discrete(3, start=-1)}),
            "pair": spaces.Tuple((spaces.MultiBinary(4), spaces.MultiDiscrete([3, 5], start=[1, 2]))),
            "camera": spaces.Box(0, 255, (3, 20, 24), np.uint8),
            "note": spaces.Text(8),
            "deep": spaces.Dict({"label": spaces.Text(4), "scalar": spaces.Box(-5, 5, ())}),
        }
    ),
    "text": spaces.Text(5),
    "sequence": spaces.Sequence(spaces.Discrete(2)),
    "graph": spaces.Graph(spaces.Box(0, 1, (1,)), None),
    "oneof": spaces.OneOf([spaces.Discrete(2), spaces.Box(0, 1)]),
    "dict": spaces.Dict(a=spaces.Discrete(2)),
    "unbounded": spaces.Box(-np.inf, 1, (2,)),
    "box": spaces.Box(np.array([[-2, 0], [1, -1]]), np.array([[2, 10], [4, 1]]), dtype=np.float32),
    "integers": spaces.Box(-3, 4, (3,), np.int64),
    "multidiscrete": spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), start=np.array([[0, 1], [2, 3]])),
    "vast": spaces.Discrete(2**40),
    "one two": spaces.MultiDiscrete([1, 2]),
    "two one": spaces.MultiDiscrete([2, 1]),
    "multibinary": spaces.MultiBinary((2, 2)),
    "discrete": spaces.Discrete(3),
    "picture": spaces.Box(0, 255, (50, 70, 3), np.uint8),
    "double": spaces.Dict({"a/b": spaces.Discrete(2), "a": spaces.Dict(b=spaces.Discrete(2))}),
}


class Sampled(gym.Env[Any, Any]):
    """Samples of a named observation space; refuses actions outside its named action space."""

    def __init__(self, observation: str = "discrete", action: str = "discrete") -> None:
        self.observation_space = SPACES[observation]
        self.action_space = SPACES[action]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Result:
        assert self.action_space.contains(action), action
        return self.observation_space.sample(), 0.0, False, False, {}


class Answering(gym.Env[Any, Any]):
    """Declares `space`, answers a picture, number or shape that is not of it, or speaks the old API: `how`."""

    def __init__(self, how: str, since: int = 0) -> None:
        self.action_space = spaces.Discrete(2)
        self._how, self._since, self._t = how, since, 0
        picture = spaces.Box(0, 255, (50, 70, 3), np.uint8)
        self.observation_space: spaces.Space[Any] = {
            "float picture": picture,
            "turned picture": picture,
            "wide picture": picture,
            "float integers": spaces.Box(-3, 4, (2,), np.int64),
            "keys": spaces.Dict(a=spaces.Discrete(2), b=spaces.Discrete(2)),
            "more keys": spaces.Dict(a=spaces.Discrete(2)),
        }.get(how, spaces.Box(-1, 1, (2,), np.float32))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self._t = 0
        return self._answer() if self._how == "old reset" else (self._answer(), {})

    def step(self, action: Any) -> Any:
        self._t += 1
        if self._how == "old step":
            return self._answer(), 0.0, False, {}
        info = {"episode": 3} if self._how == "episode" else {}
        return self._answer(), 0.25, self._t == 4, False, info

    def _answer(self) -> Any:
        if self._t < self._since:
            return self.observation_space.sample()
        return {
            "float picture": np.full((50, 70, 3), 0.5),
            "turned picture": np.zeros((70, 50, 3), np.uint8),
            "wide picture": np.full((50, 70, 3), 256),
            "float integers": np.array([0.7, 2.9]),
            "keys": {"a": 1},
            "more keys": {"a": 1, "b": 2, "c": 3},
            "range": np.array([0, 1.5]),
            "text": "far",
        }.get(self._how, np.zeros(2, np.float32))


class Dice(Counting):
    """Rewards drawn from global random states, which it does not seed; so is a bonus for all of its life.

    torch: also from that of PyTorch, which it imports.
    """

    def __init__(self, torch: bool = False, **ends: int) -> None:
        super().__init__(**ends)
        self._torch = __import__("torch") if torch else None
        self._bonus = 1000 * np.random.randint(1, 100)

    def step(self, action: Any) -> Result:
        observation, _, terminated, truncated, info = super().step(action)
        reward = self._bonus + float(np.random.randint(1, 7)) + 10 * random.randint(1, 6)
        if self._torch is not None:
            reward += 100 * int(self._torch.randint(1, 7, ()))
        return observation, reward, terminated, truncated, info

    def render(self) -> Any:
        return np.full((8, 6, 3), np.random.randint(256), np.uint8)


class Viewed(gym.Env[Any, Any]):
    """Looks like a MiniGrid, and is none: its image holds any numbers."""

    agent_view_size = 7

    def __init__(self) -> None:
        self.observation_space = spaces.Dict(image=spaces.Box(0, 255, (7, 7, 3), np.uint8))
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return {"image": np.full((7, 7, 3), 200, np.uint8)}, {}

    def step(self, action: Any) -> Result:
        return self.reset()[0], 0.0, False, False, {}


def wrapped_grid(wrapper: str, options: dict[str, Any] | None = None) -> gym.Env[Any, Any]:
    """A MiniGrid of 5 x 5 cells in a wrapper of its package."""
    from minigrid import wrappers

    made: gym.Env[Any, Any] = getattr(wrappers, wrapper)(gym.make("MiniGrid-Empty-5x5-v0"), **(options or {}))
    return made


class Unmade(Counting):
    """Cannot be made a second time in this process, nor in any other one. alive: how many are not closed."""

    alive = 0

    def __init__(self, owner: int) -> None:
        super().__init__()
        if os.getpid() != owner or Unmade.alive:
            raise RuntimeError("Address already in use")
        Unmade.alive += 1

    def close(self) -> None:
        Unmade.alive -= 1


class Unclosed(Counting):
    """Fails when it is closed."""

    def close(self) -> None:
        raise CustomError(5, lambda: None)


class Unborn(Counting):
    """Cannot be made."""

    def __init__(self) -> None:
        raise MuteError


class Parent(Counting):
    """Has a process of Python and a program beside it from its first episode on, and shows their ids. `early`: before.

    stubborn: it never ends them.
    """

    def __init__(self, early: bool = False, stubborn: bool = False) -> None:
        super().__init__(truncate_at=1000)
        self._stubborn, self._pids = stubborn, (0, 0)
        if early and multiprocessing.parent_process() is not None:  # in a worker
            self._start()

    def _start(self) -> None:
        self._process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        self._process.start()
        self._program = subprocess.Popen(["sleep", "600"])
        self._pids = self._process.pid or 0, self._program.pid

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if self._pids == (0, 0):
            self._start()
        return super().reset(seed=seed)

    def _observe(self, action: int) -> Any:
        return np.array([os.getpid(), *self._pids])

    def close(self) -> None:
        if not self._stubborn and self._pids != (0, 0):
            self._process.terminate()
            self._process.join()
            self._program.terminate()
            self._program.wait()


environment: Any
gym.register("Grid-v0", wrapped_grid)
gym.register("Counted-v0", lambda: gym.wrappers.RecordEpisodeStatistics(Dice(terminate_at=5)))
for environment in (Viewed, Unmade, Unclosed, Unborn, Parent, Dice, Counting, Unseeded, Broken, Sampled, Answering):
    gym.register(f"{environment.__name__}-v0", environment, order_enforce=False)
