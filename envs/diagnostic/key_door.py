"""Memory among distractors: a key that is seen once, and doors of which it opens one."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from worldmodel.envs.diagnostic.types import Outcome, Vector


class KeyDoor(gym.Env[Vector, Any]):
    """A key, a room full of other things, and doors (after Hung et al., arXiv 1810.06721).

    The key is seen at the first step. Then come `delay` steps in which things are seen at random, and actions do
    nothing but pick apples: one that matches the thing on show pays `apple`. At last the doors are seen, and the action
    of the key's number pays 1; all end the episode. Actions: one of `keys`. Observation: key, thing, doors, each
    one-hot, zeros while it is not seen [2 keys + 1].
    """

    def __init__(self, delay: int = 30, keys: int = 3, apple: float = 0.0) -> None:
        if not (1 <= delay <= 10_000 and 2 <= keys <= 100):
            raise ValueError(f"delay={delay}, keys={keys}: 1 to 10000 and 2 to 100 are accepted")
        self.observation_space = spaces.Box(0.0, 1.0, (2 * keys + 1,), np.float32)
        self.action_space = spaces.Discrete(keys)
        self._delay, self._keys, self._apple, self._thing = delay, keys, apple, -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Vector, dict[str, Any]]:
        """Begin with the key in view, which is drawn now."""
        super().reset(seed=seed)
        self._key, self._step, self._thing = int(self.np_random.integers(self._keys)), 0, -1
        return self._seen(self._key), {}

    def step(self, action: int) -> Outcome:
        """Pick, or open."""
        self._step += 1
        if self._step > self._delay + 1:
            return self._seen(2 * self._keys), float(int(action) == self._key), True, False, {}
        reward = self._apple * float(int(action) == self._thing)
        if self._step == self._delay + 1:
            return self._seen(2 * self._keys), reward, False, False, {}
        self._thing = int(self.np_random.integers(self._keys))
        return self._seen(self._keys + self._thing), reward, False, False, {}

    def _seen(self, place: int) -> Vector:
        seen: Vector = np.eye(2 * self._keys + 1, dtype=np.float32)[place]
        return seen
