"""MiniGrid: its image is a grid of symbols, not of pixels."""

import sys
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import Space, spaces

PLAIN = "the observation is not MiniGrid's own grid of symbols: its numbers are used as they are, as a vector"
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
        """Whether the image is still that of a MiniGrid itself, in part or (FullyObsWrapper) as a whole.

        Who declares its space decides: a wrapper may put rendered pixels or coordinates into an image of this shape.
        """
        if not is_minigrid(env) or (image := _image(env)) is None:
            return False
        while env is not env.unwrapped and _image(env.env) is image:  # type: ignore[attr-defined]
            env = env.env  # type: ignore[attr-defined]
        if env is env.unwrapped:
            view = env.agent_view_size  # type: ignore[attr-defined]
            return image.shape == (view, view, 3)
        return isinstance(env, sys.modules["minigrid.wrappers"].FullyObsWrapper)

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """Pass an observation on with its symbols as integers."""
        symbols: npt.NDArray[np.int64] = np.asarray(observation["image"], np.int64)
        return {**observation, "image": symbols}


def is_minigrid(env: gym.Env[Any, Any]) -> bool:
    """Whether it is a MiniGrid below its wrappers; none is where the package was not imported."""
    module = sys.modules.get("minigrid.minigrid_env")
    return module is not None and isinstance(env.unwrapped, module.MiniGridEnv)


def _image(env: gym.Env[Any, Any]) -> Space[Any] | None:
    """The space of an environment's image, None where it shows none of this name."""
    space = env.observation_space
    return space.spaces.get("image") if isinstance(space, spaces.Dict) else None
