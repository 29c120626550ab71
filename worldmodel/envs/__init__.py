"""Where experience comes from: Gymnasium environments, vectorised, and environments of our own."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not (Path(__file__).parent / "environments.py").exists():  # a checkout: they stand at its top
    __path__ = [str(Path(__file__).parents[2] / "envs")]

if TYPE_CHECKING:
    from worldmodel.envs.config import EnvConfig
    from worldmodel.envs.environments import Environments, Episode, Records, Step
    from worldmodel.envs.errors import EnvironmentFault, EnvironmentRefused, UnsupportedSpace
    from worldmodel.envs.make import make_env
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
_MODULES = ("config", "errors", "spaces.spaces", "make", "environments")


def __getattr__(name: str) -> Any:
    """Import on demand: Gymnasium is slow to import, and a command line needs only the config."""
    if name in __all__:
        for module in _MODULES:
            found = vars(import_module(f"{__name__}.{module}"))
            if name in found:
                return found[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
