"""The DeepMind Control Suite as Gymnasium environments: dm_control/walker-walk-v0."""

import importlib
import os
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from worldmodel.envs.errors import EnvironmentRefused
from worldmodel.envs.suites.rendering import choose_opengl

Array = npt.NDArray[Any]
FRAME = (240, 320)  # height and width of a rendered frame


def suite() -> Any:
    """The suite's module. Where OpenGL cannot be started it is imported without rendering."""
    choose_opengl()
    try:
        return importlib.import_module("dm_control.suite")
    except ImportError:
        if os.environ.get("MUJOCO_GL") != "egl":
            raise
        os.environ["MUJOCO_GL"] = "disable"  # a libEGL without a driver; proprioception needs none
        try:
            return importlib.import_module("dm_control.suite")
        except ImportError:  # it was not OpenGL that was missing
            os.environ["MUJOCO_GL"] = "egl"
            raise


def register() -> None:
    """Register every task of the suite as dm_control/DOMAIN-TASK-v0."""
    for domain, task in suite().ALL_TASKS:
        name = f"dm_control/{domain}-{task}-v0"
        if name not in gym.registry:
            gym.register(name, "worldmodel.envs.suites.dmc:ControlSuite", kwargs={"domain": domain, "task": task})


class ControlSuite(gym.Env[Any, Array]):
    """One task of the suite.

    Observations: a Dict of the task's own entries, or with from_pixels an image (height, width, 3) seen by `camera`
    (default: 2 for the quadruped, which hides itself from the others, else 0). Actuators without limits take [-1, 1].
    An episode terminates where the discount is 0 and is truncated at the suite's time limit.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (Gymnasium annotates it so)

    def __init__(
        self,
        domain: str,
        task: str,
        from_pixels: bool = False,
        camera: int | str | None = None,
        size: Sequence[int] = (64, 64),
        render_mode: str | None = None,
    ) -> None:
        self._random = np.random.RandomState(0)  # lqr draws its body from it, so it must start the same
        self._env = suite().load(domain, task, task_kwargs={"random": self._random})
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": round(1 / self._env.control_timestep())}
        self._camera = camera if camera is not None else (2 if domain == "quadruped" else 0)
        self._pixels = from_pixels
        self._size = (int(size[0]), int(size[1]))
        if os.environ.get("MUJOCO_GL") == "disable" and (from_pixels or render_mode):
            raise EnvironmentRefused(
                "env.kwargs.from_pixels: OpenGL is not available here; set MUJOCO_GL to egl or osmesa"
            )
        action = self._env.action_spec()
        limited = np.isfinite(action.minimum) & np.isfinite(action.maximum)
        low = np.where(limited, action.minimum, -1.0).astype(np.float32)
        high = np.where(limited, action.maximum, 1.0).astype(np.float32)
        self.action_space = spaces.Box(low, high, action.shape, np.float32)
        if from_pixels:
            self.observation_space = spaces.Box(0, 255, (*self._size, 3), np.uint8)
        else:
            entries = self._env.observation_spec().items()
            self.observation_space = spaces.Dict(
                {key: spaces.Box(-np.inf, np.inf, spec.shape, spec.dtype.type) for key, spec in entries}
            )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; the seed determines it."""
        super().reset(seed=seed)
        if seed is not None:
            self._random.seed(seed)
        return self._observe(self._env.reset()), {}

    def step(self, action: Array) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance by one control step."""
        result = self._env.step(action)
        terminated = bool(result.last() and result.discount == 0)
        return self._observe(result), float(result.reward), terminated, bool(result.last()) and not terminated, {}

    def render(self) -> Array:
        """A frame [240, 320, 3], uint8."""
        frame: Array = self._env.physics.render(*FRAME, camera_id=self._camera)
        return frame

    def close(self) -> None:
        """Free the physics and its OpenGL context."""
        self._env.close()

    def _observe(self, result: Any) -> Any:
        if self._pixels:
            return self._env.physics.render(*self._size, camera_id=self._camera)
        return dict(result.observation)
