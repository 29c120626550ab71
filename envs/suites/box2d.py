"""Box2D: an episode must not depend on the ones before it."""

import importlib
from typing import Any

import gymnasium as gym


class FreshWorld(gym.Wrapper[Any, Any, Any, Any]):
    """Starts every episode of BipedalWalker in a new world.

    The old world remembers contacts, so the same seed gives other steps after other episodes; LunarLander makes a new
    world itself.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        world = importlib.import_module("Box2D").b2World
        walker: Any = self.env.unwrapped
        walker._destroy()
        walker.world = world()
        return self.env.reset(seed=seed, options=options)
