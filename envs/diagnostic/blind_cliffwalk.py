"""Rare rewards: a row of states in which one wrong step ends the episode."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from worldmodel.envs.diagnostic.types import Outcome, Vector


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
