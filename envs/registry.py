"""The registry: from env.id to a registered environment, with the plugin that registers it imported."""

import contextlib
import difflib
import importlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import PurePath

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from worldmodel.envs.errors import EnvironmentRefused
from worldmodel.envs.faults import described

gym.register(
    "CircuitTuning-v0",
    "worldmodel.envs.circuits.qaoa_angles:CircuitTuning",
    vector_entry_point="worldmodel.envs.circuits.qaoa_angles:CircuitTuningVector",
)
gym.register("AnsatzTuning-v0", "worldmodel.envs.circuits.vqe_angles:AnsatzTuning")


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
JAX = ("phys2d/", "tabular/")  # twins of Gymnasium's own environments
BY_ENTRY_POINT = {  # what Gymnasium's own environments import late
    "gymnasium.envs.box2d": Package("Box2D", "box2d"),
    "gymnasium.envs.mujoco": Package("mujoco", "mujoco"),
}


def find(env_id: str) -> EnvSpec:
    """The registered environment of an id, which may be `module:Id-v0` for a module that registers it.

    Raises EnvironmentRefused, with the nearest id, where nothing is registered under it, and where a package is
    missing, with the command that installs it.
    """
    module, _, name = env_id.rpartition(":") if not env_id.endswith(".py") else (env_id, ":", "Id-v0")
    if module:
        if "/" in module or module.endswith(".py") or module.startswith("."):
            raise EnvironmentRefused(f"env.id={env_id}: a module is named, not its file; {_module_of(module, name)}")
        _import_module(env_id, module)
    for prefix, package in BY_ID.items():
        if name.startswith(prefix):
            _import_package(env_id, package)
    if name not in gym.registry:
        _import_plugins(name)
    spec = gym.registry.get(name)
    if spec is None:
        raise EnvironmentRefused(f"env.id={env_id}: no such environment is registered{_suggestion(name, module)}")
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
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise EnvironmentRefused(
            f"env.id={env_id}: module {module!r} cannot be imported ({described(error)})"
        ) from error


def _import_package(env_id: str, package: Package) -> None:
    try:
        if package.module == "dm_control":
            from worldmodel.envs.suites import dmc

            dmc.register()
        else:
            importlib.import_module(package.module)
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise EnvironmentRefused(
            f'env.id={env_id}: needs {package.module} ({reason}); pip install "worldmodel[{package.extra}]"'
        ) from error


def _module_of(file: str, name: str) -> str:
    """What to give in the place of the path of a module."""
    path = PurePath(file.removesuffix(".py"))
    if path.is_absolute() or ".." in path.parts:
        return f"env.id={path.name}:{name} is accepted where {path.parent} is on PYTHONPATH"
    return f"did you mean env.id={'.'.join(path.parts).lstrip('.')}:{name}?"


def _import_plugins(name: str) -> None:
    """Import the packages that are installed and register environments."""
    for package in {package.module: package for package in BY_ID.values()}.values():
        with contextlib.suppress(EnvironmentRefused):  # an absent plugin has nothing to offer
            _import_package(name, package)


def _suggestion(name: str, module: str) -> str:
    """The nearest registered id: the same name in another version or spelling, or one that hardly differs.

    With the module that was given, since what it registers is found by it alone.
    """
    candidates: dict[str, str] = {}
    for known in sorted(gym.registry, key=lambda known: (not known.startswith(JAX), known.count("/"), known)):
        candidates[_bare(known)] = known  # of the same name the newest version, and ALE/Pong-v5 before Pong-v4
    bare = _bare(name)
    nearest = [bare] if bare in candidates else difflib.get_close_matches(bare, candidates, n=1, cutoff=0.85)
    given = f"{module}:" if module else ""
    return (
        f"; did you mean {given}{candidates[nearest[0]]}?" if nearest else "; accepted: a Gymnasium id or module:Id-v0"
    )


def _bare(env_id: str) -> str:
    """An id without its namespace, its version, and what is spelled in several ways."""
    return re.sub(r"[-_ ]", "", re.sub(r"-v\d+$", "", env_id.rpartition("/")[2])).lower()
