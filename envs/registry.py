"""The registry: from env.id to a registered environment, with the plugin that registers it imported."""

import difflib
import importlib
import os
import sys
from dataclasses import dataclass

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from envs.errors import EnvironmentRefused

gym.register("CircuitTuning-v0", "envs.circuit:CircuitTuning", vector_entry_point="envs.circuit:CircuitTuningVector")
gym.register("AnsatzTuning-v0", "envs.ansatz:AnsatzTuning")


@dataclass(frozen=True)
class Package:
    """A package that environments need, and the extra of this project that installs it."""

    module: str
    extra: str


BY_ID = {  # the ids that start so appear once the package is imported
    "MiniGrid-": Package("minigrid", "minigrid"),
    "BabyAI-": Package("minigrid", "minigrid"),
    "ALE/": Package("ale_py", "atari"),
    "dm_control/": Package("dm_control", "dmc"),
}
BY_ENTRY_POINT = {  # what Gymnasium's own environments import late
    "gymnasium.envs.box2d": Package("Box2D", "box2d"),
    "gymnasium.envs.mujoco": Package("mujoco", "mujoco"),
}


def find(env_id: str) -> EnvSpec:
    """The registered environment of an id, which may be `module:Id-v0` for a module that registers it.

    Raises EnvironmentRefused, with the nearest id, where nothing is registered under it, and where a package is
    missing, with the command that installs it.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        _import_module(env_id, module)
    for prefix, package in BY_ID.items():
        if name.startswith(prefix):
            _import_package(env_id, package)
    spec = gym.registry.get(name)
    if spec is None:
        raise EnvironmentRefused(f"env.id={env_id}: no such environment is registered{_suggestion(name)}")
    for prefix, package in BY_ENTRY_POINT.items():
        if isinstance(spec.entry_point, str) and spec.entry_point.startswith(prefix):
            _import_package(env_id, package)
    return spec


def import_module_of(env_id: str) -> None:
    """Import the module part of `module:Id-v0`, in a worker process."""
    module = env_id.rpartition(":")[0]
    if module:
        _import_module(env_id, module)


def _import_module(env_id: str, module: str) -> None:
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # a user's module lies beside the run, also where a script was started elsewhere
    try:
        importlib.import_module(module)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise EnvironmentRefused(f"env.id={env_id}: module {module!r} cannot be imported ({reason})") from error


def _import_package(env_id: str, package: Package) -> None:
    try:
        if package.module == "dm_control":
            from envs import dmc

            dmc.register()
        else:
            importlib.import_module(package.module)
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise EnvironmentRefused(
            f'env.id={env_id}: needs {package.module} ({reason}); pip install "worldmodel[{package.extra}]"'
        ) from error


def _suggestion(name: str) -> str:
    """The nearest registered id, also among those of the plugins that are installed."""
    for package in {package.module: package for package in BY_ID.values()}.values():
        try:
            _import_package(name, package)
        except EnvironmentRefused:
            continue  # an absent plugin has nothing to suggest
    candidates: dict[str, str] = {}
    for known in sorted(gym.registry):
        candidates.setdefault(known.lower(), known)
        candidates.setdefault(known.rpartition("/")[2].lower(), known)
    nearest = difflib.get_close_matches(name.lower(), candidates, n=1, cutoff=0.5)
    return f"; did you mean {candidates[nearest[0]]}?" if nearest else "; accepted: a Gymnasium id or module:Id-v0"
