"""Late experience: an object that appears after most of the episode."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from worldmodel.envs.diagnostic.types import Outcome, Vector


class AppearingObject(gym.Env[Vector, Any]):
    """A ring of cells on which, late in the episode, an object appears; reaching it pays 1 and ends the episode.

    Most experience is from before it appears. Actions: stay, left, right. Observation: one-hot cell of the agent, then
    that of the object, zeros while there is none [2 cells]. The object appears after `appears` steps and may be reached
    in the `stays` steps that follow, at the end of which the episode is truncated: with fewer than there are cells it
    does not do to go on in one direction.
    """

    def __init__(self, cells: int = 12, appears: int = 24, stays: int = 24) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (2 * cells,), np.float32)
        self.action_space = spaces.Discrete(3)
        self._cells, self._appears, self._end = cells, appears, appears + stays

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Vector, dict[str, Any]]:
        """Begin somewhere, without the object, whose place is drawn now."""
        super().reset(seed=seed)
        self._cell, self._object = (int(place) for place in self.np_random.integers(self._cells, size=2))
        self._step = 0
        return self._seen(), {}

    def step(self, action: int) -> Outcome:
        """Move, then look for the object."""
        self._step += 1
        self._cell = (self._cell + (0, -1, 1)[int(action)]) % self._cells
        found = self._step >= self._appears and self._cell == self._object
        return self._seen(), float(found), found, self._step >= self._end and not found, {}

    def _seen(self) -> Vector:
        seen = np.zeros(2 * self._cells, np.float32)
        seen[self._cell] = 1.0
        if self._step >= self._appears:
            seen[self._cells + self._object] = 1.0
        return seen
