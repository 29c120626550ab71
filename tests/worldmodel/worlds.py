"""Small environments for whole runs, registered as tests.worldmodel.worlds:NAME-v0."""

import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

Result = tuple[Any, float, bool, bool, dict[str, Any]]


class Fragile(gym.Env[Any, Any]):
    """Fails in step `at` of an episode in the way `how` while the file `flag` is there; else episodes of 20 steps."""

    def __init__(self, flag: str, how: str, at: int = 10) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = spaces.Discrete(2)
        self._flag, self._how, self._at = Path(flag), how, at
        self._t = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if self._how == "reset" and self._flag.exists():
            raise RuntimeError("no episode\ntoday")
        self._t = 0
        return self.np_random.normal(size=3), {}

    def step(self, action: Any) -> Result:
        self._t += 1
        observation, reward = self.np_random.normal(size=3), float(action)
        if self._t == self._at and self._flag.exists():
            match self._how:
                case "wrong":
                    observation[1] = np.nan
                case "raise":
                    raise RuntimeError("the wheel\nfell off")
                case "exit":
                    os._exit(3)
                case "leave":
                    os._exit(0)
                case "huge":
                    reward = 1e38
        return observation, reward, self._t == 15 and action == 1, self._t == 20, {}


class Picture(gym.Env[Any, Any]):
    """A camera, a gauge and a gear beside each other, and a continuous action; episodes of 12 steps."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.observation_space = spaces.Dict(
            camera=spaces.Box(0, 255, (16, 32, 3), np.uint8),
            gauge=spaces.Box(-np.inf, np.inf, (2,)),
            gear=spaces.Discrete(3, start=-1),
        )
        self.action_space = spaces.Box(np.array([0.0, -2.0]), np.array([10.0, 2.0]), dtype=np.float64)
        self.render_mode = render_mode
        self._t = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t = 0
        return self._observe(), {}

    def step(self, action: Any) -> Result:
        assert self.action_space.contains(action), action
        self._t += 1
        return self._observe(), float(action[0]), False, self._t == 12, {}

    def render(self) -> Any:
        return np.full((31, 45, 3), 20 * self._t, np.uint8)  # odd sides

    def _observe(self) -> dict[str, Any]:
        camera = np.full((16, 32, 3), 20 * self._t, np.uint8)
        gauge = self.np_random.normal(size=2).astype(np.float32)
        return {"camera": camera, "gauge": gauge, "gear": np.int64(self._t % 3 - 1)}


class Single(Picture):
    """Can exist once at a time, as a simulator that binds a port; `stiff`: and every episode differs."""

    alive = 0

    def __init__(self, render_mode: str | None = None, stiff: bool = True) -> None:
        if Single.alive:
            raise OSError("Address already in use")
        super().__init__(render_mode)
        Single.alive += 1
        self._stiff, self._seen = stiff, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        assert options is None
        self._seen += 1
        return super().reset(seed=seed if self._stiff else self._seen)

    def close(self) -> None:
        Single.alive -= 1


class Meddling(Picture):
    """Changes PyTorch for the whole process, offers masks of actions, and pays too much."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        import torch

        torch.set_default_dtype(torch.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, _ = super().reset(seed=seed)
        return observation, {"action_mask": np.ones(2, np.int8)}

    def step(self, action: Any) -> Result:
        import torch

        torch.set_grad_enabled(False)
        observation, _, terminated, truncated, info = super().step(action)
        return observation, 1e9, terminated, truncated, info


for environment in (Fragile, Picture, Single, Meddling):
    gym.register(f"{environment.__name__}-v0", environment)  # type: ignore[arg-type]
