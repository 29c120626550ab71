"""Small environments that tell choices of replay apart: importing this module registers them with Gymnasium."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Outcome = tuple[Vector, float, bool, bool, dict[str, Any]]


class BlindCliffwalk(gym.Env[Vector, Any]):
    """n states in a row; of two actions one goes on and the other ends the episode; only the last step pays, 1.

    Rewards are rare: random actions reach one in 2^n episodes (Schaul et al., arXiv 1511.05952, section 3.1). Which
    action goes on depends on the state, the same in every episode. Observation: the state, one-hot [n].
    """

    def __init__(self, states: int = 6) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (states,), np.float32)
        self.action_space = spaces.Discrete(2)
        self._states = states
        self._right = np.random.default_rng(states).integers(2, size=states)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Vector, dict[str, Any]]:
        """Begin in the first state."""
        super().reset(seed=seed)
        self._state = 0
        return self._seen(), {}

    def step(self, action: int) -> Outcome:
        """Go on, or end."""
        goes_on = int(action) == self._right[self._state]
        last = self._state == self._states - 1
        self._state += int(goes_on and not last)
        return self._seen(), float(goes_on and last), bool(not goes_on or last), False, {}

    def _seen(self) -> Vector:
        seen: Vector = np.eye(self._states, dtype=np.float32)[self._state]
        return seen


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


for _class in (BlindCliffwalk, AppearingObject, NoisyTV):
    if f"{_class.__name__}-v0" not in gym.registry:
        gym.register(f"{_class.__name__}-v0", f"{__name__}:{_class.__name__}")
