"""Where experience comes from: Gymnasium environments, vectorised, and environments of our own."""

from envs.environments import Environments, Episode, Records, Step
from envs.errors import EnvironmentFault, EnvironmentRefused, UnsupportedSpace
from envs.make import EnvConfig, make_env
from envs.spaces.spaces import ActionSpec, ObservationSpec

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
