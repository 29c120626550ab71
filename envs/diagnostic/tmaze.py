"""Memory alone: a corridor between a cue and the turn that it asks for."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from worldmodel.envs.diagnostic.types import Outcome, Vector


class TMaze(gym.Env[Vector, Any]):
    """A T-maze (Bakker, NIPS 2001): a cue at the start says which way to turn at the end of a corridor.

    Every action goes on through the corridor, so the cue is exactly `delay` steps back when the turn is chosen. The
    right turn pays 1, the wrong one nothing; both end the episode. Nothing but the cue tells them apart. Actions: left,
    right. Observation: cue for left, cue for right, corridor, junction, left arm, right arm, one-hot [6].
    """

    def __init__(self, delay: int = 100) -> None:
        if not 1 <= delay <= 10_000:
            raise ValueError(f"delay={delay}: 1 to 10000 is accepted")
        self.observation_space = spaces.Box(0.0, 1.0, (6,), np.float32)
        self.action_space = spaces.Discrete(2)
        self._delay = delay

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Vector, dict[str, Any]]:
        """Begin at the cue, which is drawn now."""
        super().reset(seed=seed)
        self._cue, self._step = int(self.np_random.integers(2)), 0
        return _seen(self._cue), {}

    def step(self, action: int) -> Outcome:
        """Go on, or turn."""
        self._step += 1
        if self._step <= self._delay:
            return _seen(3 if self._step == self._delay else 2), 0.0, False, False, {}
        return _seen(4 + int(action)), float(int(action) == self._cue), True, False, {}


def _seen(place: int) -> Vector:
    seen: Vector = np.eye(6, dtype=np.float32)[place]
    return seen
