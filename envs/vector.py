"""Vectorised environments: E streams in this process or in one process each."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from worldmodel.envs.config import EnvConfig
from worldmodel.envs.errors import EnvironmentFault, EnvironmentRefused
from worldmodel.envs.faults import described
from worldmodel.envs.make import make_env
from worldmodel.envs.randomness import OwnRandom, seed_globals
from worldmodel.envs.workers import WorkerDied, Workers
from worldmodel.envs.wrappers import Stream

from worldmodel.envs import registry

Array = npt.NDArray[Any]
CHEAP = (  # steps that cost less than the way to another process and back
    "gymnasium.envs.classic_control",
    "gymnasium.envs.toy_text",
    "gymnasium.envs.box2d.lunar_lander",
    "minigrid",
    "worldmodel.envs.circuits.qaoa_angles",
    "worldmodel.envs.circuits.vqe_angles",
)


class StreamMaker:
    """Makes one stream, here or in a worker process. The first one made here is `made`, which exists already.

    seed: of the global random states while it is made, in a worker, and here if it is `repeatable`.
    """

    def __init__(
        self,
        config: EnvConfig,
        spec: EnvSpec,
        stream: int,
        evaluation: bool,
        render: bool,
        seed: int,
        repeatable: bool,
    ) -> None:
        self._arguments = (config, spec, stream, evaluation, render)
        self._seed, self._repeatable = seed, repeatable
        self._owner = os.getpid()
        self._environ, self._path = dict(os.environ), list(sys.path)  # a fork server keeps those of its start
        self.made: Stream | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "made": None}

    def __call__(self) -> Stream:
        """Make the stream, or hand over the one that was made."""
        made, self.made = self.made, None
        if made is not None:
            return made
        config, spec, stream, evaluation, render = self._arguments
        remote = os.getpid() != self._owner
        if remote:
            os.environ.update(self._environ)
            sys.path[:] = self._path
            registry.import_module_of(config.id)
        own = OwnRandom() if self._repeatable and not remote else None
        with own or contextlib.nullcontext():
            if remote or own:
                seed_globals(self._seed)
            return make_env(
                config, spec=spec, stream=stream, evaluation=evaluation, render=render, remote=remote, own=own
            )


class Vector:
    """E streams of one environment, stepped together; episodes end and start only where the caller says so.

    `vectorization=auto` means: in this process for one stream and for cheap environments (classic control, toy text,
    lunar lander, MiniGrid), in worker processes otherwise. Every call raises EnvironmentFault when a stream fails.
    """

    def __init__(
        self, config: EnvConfig, seeds: Sequence[int], evaluation: bool, render: bool, repeatable: bool
    ) -> None:
        spec = registry.find(config.id)
        makers = [
            StreamMaker(config, spec, stream, evaluation, render, seed, repeatable) for stream, seed in enumerate(seeds)
        ]
        first = makers[0].made = makers[0]()
        self.layout = first.layout
        self.action_space = first.action_space
        self._id = config.id
        self._env: SyncVectorEnv[Any, Any] | Workers
        with self._faults():
            if _use_workers(config, spec, len(makers)):
                self._env = Workers(makers)
            else:
                self._env = _in_this_process(makers)

    def reset(
        self,
        seeds: list[int],
        mask: Array | None = None,
        replay: dict[int, Array] | None = None,
        evaluation: bool = False,
    ) -> tuple[Any, dict[str, Any]]:
        """Start episodes with their seeds, in the streams of the mask or in all; replay actions into some of them.
        evaluation: they are capped as those of evaluations are.

        Returns the batched raw observations, which the next call may overwrite, and the infos.
        """
        options: dict[str, Any] = {}
        if mask is not None:
            options["reset_mask"] = mask
        if replay:
            options["replay"] = replay
        if evaluation:
            options["evaluation"] = True
        with self._faults():
            raw, infos = self._env.reset(seed=list(seeds), options=options)
        self._raise_fault(infos)
        return raw, infos

    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Step all streams: raw observations, rewards float64 [E], terminated [E], truncated [E], infos."""
        with self._faults():
            result = self._env.step(actions)
        self._raise_fault(result[4])
        return result

    def render(self) -> list[npt.NDArray[np.uint8]]:
        """One frame [H, W, 3] of every stream."""
        with self._faults():
            frames: Any = self._env.render()
        return list(frames)

    def close(self) -> None:
        """Close all environments and end all workers, whatever state they are in."""
        self._env.close()

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except WorkerDied as error:
            raise EnvironmentFault(f"{self._id}, stream {error.stream}: the worker process {error.how}") from None
        except EnvironmentRefused:
            raise
        except EnvironmentFault as error:
            if str(error).startswith(self._id):
                raise
            raise EnvironmentFault(f"{self._id}, {error}") from error
        except Exception as error:
            raise EnvironmentFault(f"{self._id}: the vectorised environment failed ({described(error)})") from error

    def _raise_fault(self, infos: dict[str, Any]) -> None:
        if "fault" in infos:
            stream = int(np.flatnonzero(infos["_fault"])[0])
            fault = infos["fault"][stream]
            raise EnvironmentFault(f"{self._id}, stream {stream}: {fault.message}") from fault.cause


def _use_workers(config: EnvConfig, spec: EnvSpec, num: int) -> bool:
    if config.vectorization != "auto":
        return config.vectorization == "async"
    return num > 1 and not (isinstance(spec.entry_point, str) and spec.entry_point.startswith(CHEAP))


def _in_this_process(makers: list[StreamMaker]) -> SyncVectorEnv[Any, Any]:
    """All streams here; those that were made are closed where another one cannot be."""
    try:
        for maker in makers:
            maker.made = maker()
        return SyncVectorEnv(makers, copy=False, autoreset_mode=AutoresetMode.DISABLED)
    except BaseException:
        for maker in makers:
            if maker.made is not None:
                maker.made.close()
        raise
