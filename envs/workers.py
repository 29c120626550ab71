"""Workers: one process per stream, whose death is noticed and which end with the run."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import numpy.typing as npt
import psutil
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.vector.async_vector_env import AsyncState, _async_worker
from worldmodel.envs.errors import EnvironmentFault, EnvironmentRefused, WorkerTraceback
from worldmodel.envs.faults import described, tell, traceback_of
from worldmodel.envs.wrappers import Stream

Array = npt.NDArray[Any]
Maker = Callable[[], Stream]
CONTEXT = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
PRELOADED = ["gymnasium.vector", "gymnasium.wrappers", "pydantic.dataclasses", "pydantic.types"]
ROOT = str(Path(__file__).parent.parent)
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 5.0  # seconds a worker has to close its environment


@dataclass(frozen=True)
class Unclosed:
    """The last message of a worker: what could not be closed, a line each."""

    lines: list[str]


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
    Environments may start processes, which end with their worker: each worker leads a process group.
    """

    def __init__(self, makers: Sequence[Maker]) -> None:
        if CONTEXT == "forkserver":
            multiprocessing.set_forkserver_preload(PRELOADED)
        worker: Any = _serve  # Gymnasium annotates fewer arguments than it passes
        options: dict[str, Any] = {"copy": False, "context": CONTEXT, "worker": worker, "daemon": False}
        self.parent_pipes, self.processes = [], []
        try:
            with _start_of_workers(), self._deaths():
                super().__init__(makers, autoreset_mode=AutoresetMode.DISABLED, **options)
        except BaseException:
            self.close_extras()
            self.closed = True
            raise
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

    def _raise_if_errors(self, successes: Iterable[bool]) -> None:
        """Raise what a worker could not do, as EnvironmentFault or EnvironmentRefused."""
        if not all(successes):
            self._state = AsyncState.DEFAULT
            stream, _, value, trace = self.error_queue.get()
            if not isinstance(value, EnvironmentFault | EnvironmentRefused):
                value = EnvironmentFault(f"stream {stream}: {described(value)}")
            raise value from WorkerTraceback(trace)

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


def _serve(index: int, maker: Maker, pipe: Any, parent_pipe: Any, shared: Any, errors: Any, *rest: Any) -> None:
    """The body of a worker. An interrupt is for the main process, which saves and then closes the workers."""
    os.setpgid(0, 0)
    for number in INTERRUPTS:  # programs that the environment starts would inherit that they are ignored
        signal.signal(number, _unheeded)
    os.register_at_fork(after_in_child=_heed_interrupts)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    parent_pipe.close()  # held open by a process of the environment, it would hide that the main process was killed
    with contextlib.suppress(OSError, EOFError):  # the main process was killed: nobody is left to tell
        try:
            stream = maker()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            refused = isinstance(error, EnvironmentFault | EnvironmentRefused)
            fault = error if refused else EnvironmentFault(f"stream {index}: {described(error)}")
            errors.put((index, type(fault), fault, traceback_of(error)))
            pipe.recv()
            pipe.send((None, False))
        else:
            _async_worker(index, lambda: stream, pipe, parent_pipe, shared, errors, *rest)
            pipe.send(Unclosed(stream.unclosed))
    _kill_children(os.getpid())  # at its exit it would wait for them


def _unheeded(number: int, frame: object) -> None:
    pass


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _kill_children(pid: int) -> None:
    """Kill all processes that a process has started, and theirs."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def _end_workers(pipes: list[Any], processes: list[Any]) -> None:
    """Ask workers to close, kill those that do not, and all processes of theirs. Tell what could not be closed."""
    for pipe in pipes:
        with contextlib.suppress(OSError):  # its worker is gone already
            pipe.send(("close", None))
    deadline = time.monotonic() + PATIENCE
    for pipe, process in zip(pipes, processes, strict=True):
        if process.pid is None or pipe.closed:  # it could not be started, or has been ended before
            continue
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            _kill_children(process.pid)
            process.kill()
            process.join()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # its group is gone; it has only zombies
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(EOFError, OSError):
            while process.exitcode == 0 and pipe.poll():
                message = pipe.recv()
                for line in message.lines if isinstance(message, Unclosed) else ():
                    tell(line)
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
