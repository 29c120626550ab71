"""Where a search runs its workers and a comparison its runs: processes on this machine, or tasks of a Ray cluster."""

import os
import re
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.simd.threads import asked, processors
from worldmodel.cli.compose import UsageError
from worldmodel.launch.process import Child, Ended, Program

ROOT = Path(__file__).parents[2]
POLL = 0.1  # seconds between two looks at programs that were asked to stop
REACH = 10.0  # seconds for a cluster to be reached; Ray itself tries for many minutes
_strict = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class LaunchError(Exception):
    """A cluster could not be started here. The message is one line."""

    exit_code = 1


class Started(Protocol):
    """A program that was started."""

    def ended(self) -> Ended | None:
        """How it ended, None while it runs."""

    def stop(self) -> None:
        """Ask it to save itself and to end."""

    def kill(self) -> None:
        """End it, and what it has started, at once."""


class Launcher(Protocol):
    """Starts programs."""

    def start(self, program: Program) -> Started:
        """Start one."""

    def close(self) -> None:
        """Release what the launcher holds, after its programs have ended."""


@dataclass(config=_strict)
class LocalConfig:
    """Processes on this machine."""

    name: Literal["local"]

    def open(self, workers: int) -> Launcher:
        return Local(workers)


@dataclass(config=_strict)
class RayConfig:
    """Tasks of a Ray cluster, whose machines share the folders of this one."""

    name: Literal["ray"]
    address: str = "local"
    """local: start Ray on this machine; auto: the cluster here; or HOST:PORT of one"""
    cpus: Annotated[float, Field(ge=0)] = 1
    """cores that a worker reserves"""
    gpus: Annotated[float, Field(ge=0)] = 0
    """GPUs that a worker reserves"""

    def open(self, workers: int) -> Launcher:
        """Raises UsageError where Ray is not installed, or no cluster is at the address, and LaunchError where none
        could be started here.
        """
        return Ray(self, workers)


LauncherChoice = Annotated[LocalConfig | RayConfig, Field(discriminator="name")]


class Local:
    """Starts programs as processes in sessions of their own, among which the processors are divided."""

    def __init__(self, workers: int = 1) -> None:
        self._threads = max(1, processors() // workers)

    def start(self, program: Program) -> Started:
        return Child(program, environment={**os.environ, "OMP_NUM_THREADS": str(asked() or self._threads)})

    def close(self) -> None:
        pass


class Ray:
    """Starts programs as tasks of a Ray cluster. Each is the same process as a local one, wherever Ray puts it."""

    def __init__(self, config: RayConfig, workers: int) -> None:
        try:
            import ray
        except ImportError:
            raise UsageError('launcher=ray: needs ray: pip install "worldmodel[ray]"') from None
        self._ray, self._config = ray, config
        if named := re.fullmatch(r"(?:ray://)?(.+):(\d+)", config.address):
            try:
                socket.create_connection((named[1], int(named[2])), REACH).close()
            except (OSError, OverflowError) as error:
                raise _unreachable(config, error) from None
        options: dict[str, Any] = {"address": config.address, "log_to_driver": False, "logging_level": "error"}
        if config.address == "local":
            cpus = max(os.cpu_count() or 1, -int(-workers * config.cpus // 1))
            options |= {"num_cpus": cpus, "include_dashboard": False}
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**options)
            signal.signal(signal.SIGTERM, before)  # Ray has put one of its own there
        except Exception as error:  # no narrower class: Ray raises this one where a node does not start in time
            line = " ".join(str(error).split())
            if config.address == "local":
                raise LaunchError(f"launcher=ray: Ray could not be started on this machine: {line}") from None
            raise _unreachable(config, line) from None

    def start(self, program: Program) -> Started:
        task = self._ray.remote(num_cpus=self._config.cpus, num_gpus=self._config.gpus, max_retries=0, max_calls=1)(
            _run
        )
        return _Task(self._ray, task.remote(program, str(ROOT), os.getcwd()))

    def close(self) -> None:
        self._ray.shutdown()


def _unreachable(config: RayConfig, reason: object) -> UsageError:
    return UsageError(f"launcher.address={config.address}: no Ray cluster can be reached: {reason}")


class _Task:
    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self._reference = ray, reference

    def ended(self) -> Ended | None:
        ready, _ = self._ray.wait([self._reference], timeout=0)
        if not ready:
            return None
        try:
            return Ended(*self._ray.get(self._reference))
        except self._ray.exceptions.RayError as error:
            return Ended(None, f"lost by Ray: {' '.join(str(error).split())[:300]}")

    def stop(self) -> None:
        self._ray.cancel(self._reference, force=False)

    def kill(self) -> None:
        self._ray.cancel(self._reference, force=True)


def _run(program: Program, root: str, folder: str) -> tuple[int | None, str]:
    """What a Ray task does: start the program, wait for it, and stop it when the task is cancelled."""
    for file in (program.out, program.err):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if Path(root).is_dir():  # a checkout, which the worker of Ray may not have on its path
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH", "")]))
    # in the session of Ray's worker: what ends that ends the program
    child = Child(program, False, Path(folder) if Path(folder).is_dir() else None, environment)
    try:
        while (ended := child.ended()) is None:  # in slices: Ray interrupts between them
            time.sleep(0.2)
    finally:
        child.stop()
        while child.ended() is None:
            time.sleep(POLL)
    return ended.code, ended.reason


def stop_all(programs: Iterable[Started], patience: float) -> None:
    """Have all programs save themselves and end; those that take too many seconds, or an interrupt, are ended."""
    left = list(programs)
    try:
        for program in left:
            program.stop()
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(program.ended() is None for program in left):
            time.sleep(POLL)
    finally:
        for program in left:
            if program.ended() is None:
                program.kill()
