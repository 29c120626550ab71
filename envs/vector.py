"""Vectorised environments whose dead workers are noticed: E streams in this process or in one process each."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.vector.async_vector_env import _async_worker

from envs import registry
from envs.errors import EnvironmentFault
from envs.make import EnvConfig, make_env
from envs.wrappers import Stream

Array = npt.NDArray[Any]
CHEAP = (  # steps that cost less than the way to another process and back
    "gymnasium.envs.classic_control",
    "gymnasium.envs.toy_text",
    "gymnasium.envs.box2d.lunar_lander",
    "minigrid",
    "envs.circuit",
    "envs.ansatz",
)
CONTEXT = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
PRELOADED = ["gymnasium.vector", "gymnasium.wrappers", "pydantic.dataclasses", "pydantic.types"]
ROOT = str(Path(__file__).parent.parent)
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 5.0  # seconds a worker has to close its environment


class StreamMaker:
    """Makes one stream, here or in a worker process. The first one made here is `made`, which exists already."""

    def __init__(self, config: EnvConfig, spec: EnvSpec, stream: int, evaluation: bool, render: bool) -> None:
        self._arguments = (config, spec, stream, evaluation, render)
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
        return make_env(config, spec=spec, stream=stream, evaluation=evaluation, render=render, remote=remote)


class Vector:
    """E streams of one environment, stepped together; episodes end and start only where the caller says so.

    `vectorization=auto` means: in this process for one stream and for cheap environments (classic control, toy text,
    lunar lander, MiniGrid), in worker processes otherwise. Every call raises EnvironmentFault when a stream fails.
    """

    def __init__(self, config: EnvConfig, num: int, evaluation: bool, render: bool) -> None:
        spec = registry.find(config.id)
        makers = [StreamMaker(config, spec, stream, evaluation, render) for stream in range(num)]
        first = makers[0].made = makers[0]()
        self.layout = first.layout
        self.action_space = first.action_space
        self._id = config.id
        self._env: SyncVectorEnv[Any, Any] | Workers
        with self._faults():
            if _use_workers(config, spec, num):
                self._env = Workers(makers)
            else:
                self._env = SyncVectorEnv(makers, copy=False, autoreset_mode=AutoresetMode.DISABLED)

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
        return [np.asarray(frame, np.uint8) for frame in frames]

    def close(self) -> None:
        """Close all environments and end all workers, whatever state they are in."""
        self._env.close()

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except WorkerDied as error:
            raise EnvironmentFault(f"{self._id}, stream {error.stream}: the worker process {error.how}") from error
        except EnvironmentFault as error:
            raise EnvironmentFault(f"{self._id}, {error}") from error
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise EnvironmentFault(f"{self._id}: the vectorised environment failed ({reason})") from error

    def _raise_fault(self, infos: dict[str, Any]) -> None:
        if "fault" in infos:
            stream = int(np.flatnonzero(infos["_fault"])[0])
            fault = infos["fault"][stream]
            raise EnvironmentFault(f"{self._id}, stream {stream}: {fault.message}") from fault.cause


class WorkerDied(Exception):
    """The process of a stream ended by itself."""

    def __init__(self, stream: int, exitcode: int | None) -> None:
        self.stream = stream
        if exitcode is not None and exitcode < 0:
            killed = signal.Signals(-exitcode).name
            self.how = f"was killed by {killed}{' (out of memory?)' if killed == 'SIGKILL' else ''}"
        else:
            self.how = f"ended with exit code {exitcode}"
        super().__init__(f"stream {stream} {self.how}")


class Workers(AsyncVectorEnv[Any, Any]):
    """One process per stream. A worker that dies raises WorkerDied and neither a step nor close waits for it.

    The workers come from a fork server, which holds neither threads nor torch; they do not import the main module.
    """

    def __init__(self, makers: list[StreamMaker]) -> None:
        if CONTEXT == "forkserver":
            multiprocessing.set_forkserver_preload(PRELOADED)
        worker: Any = _serve  # Gymnasium annotates fewer arguments than it passes
        with _start_of_workers(), self._deaths():
            super().__init__(makers, copy=False, context=CONTEXT, worker=worker, autoreset_mode=AutoresetMode.DISABLED)
        Finalize(self, _end_workers, (self.parent_pipes, self.processes), exitpriority=0)  # at exit nobody else does

    def reset_async(self, seed: Any = None, options: dict[str, Any] | None = None) -> None:
        """Send the resets."""
        with self._deaths():
            super().reset_async(seed, options)

    def reset_wait(self, timeout: float | None = None) -> tuple[Any, dict[str, Any]]:
        """Wait for the resets."""
        with self._deaths():
            self._await()
            return super().reset_wait(timeout)

    def step_async(self, actions: Any) -> None:
        """Send the actions."""
        with self._deaths():
            super().step_async(actions)

    def step_wait(self, timeout: float | None = None) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Wait for the steps."""
        with self._deaths():
            self._await()
            return super().step_wait(timeout)

    def call_async(self, name: str, /, *args: object, **kwargs: object) -> None:
        """Send a call."""
        with self._deaths():
            super().call_async(name, *args, **kwargs)

    def call_wait(self, timeout: float | None = None) -> tuple[Any, ...]:
        """Wait for a call."""
        with self._deaths():
            self._await()
            return super().call_wait(timeout)

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """End the workers: those that do not close when asked are killed."""
        _end_workers(self.parent_pipes, self.processes)

    def _await(self) -> None:
        """Return when every worker has answered; raise WorkerDied when one cannot any more."""
        pending: dict[Any, Any] = {
            pipe: process.sentinel for pipe, process in zip(self.parent_pipes, self.processes, strict=True)
        }
        while pending:
            ready = wait([*pending, *pending.values()])
            answered = [pipe for pipe in pending if pipe in ready]
            for pipe in answered:
                del pending[pipe]
            if not answered:  # only sentinels are ready
                raise EOFError

    @contextlib.contextmanager
    def _deaths(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            dead = wait([process.sentinel for process in self.processes], timeout=PATIENCE)
            for stream, process in enumerate(self.processes):
                if process.sentinel in dead:
                    process.join(PATIENCE)
                    raise WorkerDied(stream, process.exitcode) from error
            raise


def _use_workers(config: EnvConfig, spec: EnvSpec, num: int) -> bool:
    if config.vectorization != "auto":
        return config.vectorization == "async"
    return num > 1 and not (isinstance(spec.entry_point, str) and spec.entry_point.startswith(CHEAP))


def _serve(index: int, maker: StreamMaker, pipe: Any, *rest: Any) -> None:
    """The body of a worker. An interrupt is for the main process, which saves and then closes the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    with contextlib.suppress(OSError):  # the main process was killed: nobody is left to tell
        _async_worker(index, maker, pipe, *rest)


def _end_workers(pipes: list[Any], processes: list[Any]) -> None:
    """Ask workers to close, and kill those that do not."""
    pipes = [pipe for pipe in pipes if pipe is not None]
    for pipe in pipes:
        with contextlib.suppress(OSError):  # its worker is gone already
            pipe.send(("close", None))
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
    for pipe in pipes:
        pipe.close()


@contextlib.contextmanager
def _start_of_workers() -> Iterator[None]:
    """What new processes copy from this one: this package before a namesake, no main module, and blocked interrupts.

    Else they would import the main module again, and torch with it; and Ctrl-C, which goes to all processes of a
    terminal, would end those that do not ignore it yet.
    """
    main, path = sys.modules["__main__"], list(sys.path)
    names = ("__spec__", "__file__")
    hidden = {name: main.__dict__[name] for name in names if name in main.__dict__}
    main.__dict__.pop("__file__", None)
    main.__spec__ = None
    sys.path.insert(0, ROOT)
    resource_tracker.ensure_running()  # it would unblock them when it starts
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        main.__dict__.update(hidden)
        sys.path[:] = path
