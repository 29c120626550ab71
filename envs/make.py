"""One environment from its configuration: made, wrapped, and checked."""

import importlib
import warnings
from dataclasses import replace
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import AtariPreprocessing
from worldmodel.envs.answers import Answers
from worldmodel.envs.config import EnvConfig
from worldmodel.envs.errors import EnvironmentFault, EnvironmentRefused, UnsupportedSpace
from worldmodel.envs.faults import close, described
from worldmodel.envs.randomness import OwnRandom
from worldmodel.envs.spaces.images import DEFAULT_SIZE
from worldmodel.envs.spaces.spaces import action_spec, observation_layout
from worldmodel.envs.suites.box2d import FreshWorld
from worldmodel.envs.suites.minigrid import PLAIN, Symbols, is_minigrid
from worldmodel.envs.suites.rendering import choose_opengl
from worldmodel.envs.wrappers import ActionRepeat, EvaluationLimit, SelectFields, Stream

from worldmodel.envs import registry

RESERVED = {  # arguments of gymnasium.make that are no options of an environment
    "id": "env.id names the environment",
    "max_episode_steps": "env.time_limit limits the steps of an episode",
    "disable_env_checker": "answers are always checked",
}
ATARI: dict[str, Any] = {"frameskip": 1, "repeat_action_probability": 0.0}


def make_env(
    config: EnvConfig,
    *,
    spec: EnvSpec | None = None,
    stream: int = 0,
    evaluation: bool = False,
    render: bool = False,
    remote: bool = False,
    own: OwnRandom | None = None,
) -> Stream:
    """Make one environment with all of its wrappers.

    spec: what the registry has for the id, looked up if not given; stream: its number; evaluation: the episode is
    capped; render: frames are wanted; remote: it lives in a worker process; own: the global random states that it
    sees. Raises EnvironmentRefused (also for unsupported spaces) and EnvironmentFault.
    """
    if spec is None:
        spec = registry.find(config.id)
    env = _create(config, spec, render)
    try:
        return _wrap(config, env, stream, evaluation, remote, own)
    except BaseException as error:
        close(env, config.id)
        if isinstance(error, UnsupportedSpace):
            raise UnsupportedSpace(f"env.id={config.id}: {error}") from error
        raise


def _create(config: EnvConfig, spec: EnvSpec, render: bool) -> gym.Env[Any, Any]:
    kwargs = dict(config.kwargs)
    for key in RESERVED.keys() & kwargs.keys():
        raise EnvironmentRefused(f"env.kwargs.{key}={kwargs[key]}: {RESERVED[key]}; leave {key} out")
    if config.atari:
        if spec.namespace != "ALE":
            raise EnvironmentRefused(f"env.atari=true: {config.id} is no Atari game; accepted: ids such as ALE/Pong-v5")
        if kwargs.get("frameskip", 1) != 1:
            raise EnvironmentRefused(
                "env.kwargs.frameskip: with env.atari=true frames are skipped by env.action_repeat"
            )
        kwargs = ATARI | kwargs
    if spec.namespace == "ALE":
        ale: Any = importlib.import_module("ale_py")
        ale.ALEInterface.setLoggerMode(ale.LoggerMode.Error)  # it prints a banner at every reset
    if render:
        kwargs["render_mode"] = "rgb_array"
        choose_opengl()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not in the possible render_modes")  # told below
            env: gym.Env[Any, Any] = gym.make(
                spec, max_episode_steps=config.time_limit, disable_env_checker=True, **kwargs
            )
    except (EnvironmentRefused, KeyboardInterrupt):
        raise
    except BaseException as error:
        reason = described(error)
        if render and "'render_mode'" in reason:
            raise EnvironmentRefused(
                f"video: env.id={config.id} renders no rgb_array frames: it takes no render_mode"
            ) from error
        if isinstance(error, (TypeError, gym.error.Error, ImportError)):
            keys = f" with env.kwargs={config.kwargs}" if config.kwargs else ""
            raise EnvironmentRefused(f"env.id={config.id}{keys} cannot be made ({reason})") from error
        raise EnvironmentFault(f"{config.id} cannot be made ({reason})") from error
    if render and "rgb_array" not in (env.metadata.get("render_modes") or ()):
        close(env, config.id)
        raise EnvironmentRefused(f"video: env.id={config.id} renders no rgb_array frames")
    return env


def _wrap(
    config: EnvConfig, env: gym.Env[Any, Any], stream: int, evaluation: bool, remote: bool, own: OwnRandom | None
) -> Stream:
    env, answers = Answers.around(env)
    if type(env.unwrapped).__name__.startswith("BipedalWalker"):
        env = FreshWorld(env)
    symbols = Symbols.applies(env)
    if symbols:
        env = Symbols(env)
    env = EvaluationLimit(env, config.eval_time_limit, always=evaluation)
    if config.atari:
        height, width = config.resize if isinstance(config.resize, tuple) else DEFAULT_SIZE
        env = AtariPreprocessing(
            env,
            frame_skip=config.action_repeat,
            screen_size=(width, height),
            grayscale_obs=config.grayscale,
            grayscale_newaxis=True,
        )
    elif config.action_repeat > 1:
        env = ActionRepeat(env, config.action_repeat)
    action_spec(env.action_space)
    layout = observation_layout(env.observation_space, config.resize, config.grayscale)
    if not symbols and is_minigrid(env) and all(spec.kind != "image" for spec in layout.specs.values()):
        layout = replace(layout, notices=(*layout.notices, PLAIN))
    if not layout.plain:
        env = SelectFields(env, layout)
    return Stream(env, config.id, stream, layout, remote, answers, own)
