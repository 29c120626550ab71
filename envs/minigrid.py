"""MiniGrid: its image is a grid of symbols, not of pixels."""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

DIRECTIONS = 4  # a fully observed grid shows the agent's direction in the place of a state


class Symbols(gym.ObservationWrapper[Any, Any, Any]):
    """Declares the (width, height, 3) image as what it is: classes of object type, colour and state per cell."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX

        super().__init__(env)
        assert isinstance(env.observation_space, spaces.Dict)
        image = env.observation_space["image"]
        assert image.shape is not None
        cell = (len(OBJECT_TO_IDX), len(COLOR_TO_IDX), max(len(STATE_TO_IDX), DIRECTIONS))
        classes = np.broadcast_to(np.array(cell, np.int64), image.shape).copy()
        self.observation_space = spaces.Dict({**env.observation_space.spaces, "image": spaces.MultiDiscrete(classes)})

    @staticmethod
    def applies(env: gym.Env[Any, Any]) -> bool:
        """Whether an environment is a MiniGrid whose image still holds symbols (and was not rendered)."""
        view = getattr(env.unwrapped, "agent_view_size", None)
        space = env.observation_space
        if view is None or not isinstance(space, spaces.Dict) or "image" not in space.spaces:
            return False
        whole = (getattr(env.unwrapped, "width", None), getattr(env.unwrapped, "height", None), 3)
        return space["image"].shape in ((view, view, 3), whole)

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """Pass an observation on with its symbols as integers."""
        symbols: npt.NDArray[np.int64] = np.asarray(observation["image"], np.int64)
        return {**observation, "image": symbols}
