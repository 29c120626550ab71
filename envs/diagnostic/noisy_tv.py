"""Noise that no model predicts: a corridor with a television."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from worldmodel.envs.diagnostic.types import Outcome, Vector


class NoisyTV(gym.Env[Vector, Any]):
    """A corridor with a goal at its end that pays 1, and a television that shows noise whenever it is switched on.

    The noise can never be predicted, so choices by model loss alone chase it. Actions: left, right, watch. Observation:
    one-hot cell, then the picture, zeros unless it was just watched [cells + pixels]. Truncated after 50 steps.
    """

    def __init__(self, cells: int = 10, pixels: int = 8) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (cells + pixels,), np.float32)
        self.action_space = spaces.Discrete(3)
        self._cells, self._pixels = cells, pixels

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Vector, dict[str, Any]]:
        """Begin at the left end."""
        super().reset(seed=seed)
        self._cell = self._step = 0
        return self._seen(False), {}

    def step(self, action: int) -> Outcome:
        """Move, or watch."""
        self._step += 1
        self._cell = min(max(self._cell + (-1, 1, 0)[int(action)], 0), self._cells - 1)
        there = self._cell == self._cells - 1
        return self._seen(int(action) == 2), float(there), there, self._step >= 50 and not there, {}

    def _seen(self, watched: bool) -> Vector:
        picture = self.np_random.normal(size=self._pixels) if watched else np.zeros(self._pixels)
        seen: Vector = np.concatenate([np.eye(self._cells)[self._cell], picture]).astype(np.float32)
        return seen
