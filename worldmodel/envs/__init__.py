"""Where experience comes from: Gymnasium environments, vectorised, and environments of our own."""

from pathlib import Path

if not (Path(__file__).parent / "environments.py").exists():  # a checkout: they stand at its top
    __path__ = [str(Path(__file__).parents[2] / "envs")]

from worldmodel.envs.environments import Environments, Episode, Records, Step
from worldmodel.envs.errors import EnvironmentFault, EnvironmentRefused, UnsupportedSpace
from worldmodel.envs.make import EnvConfig, make_env
from worldmodel.envs.spaces.spaces import ActionSpec, ObservationSpec

__all__ = [
    "ActionSpec",
    "EnvConfig",
    "EnvironmentFault",
    "EnvironmentRefused",
    "Environments",
    "Episode",
    "ObservationSpec",
    "Records",
    "Step",
    "UnsupportedSpace",
    "make_env",
]
