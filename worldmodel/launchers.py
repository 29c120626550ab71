"""Where the workers of a search run: processes on this machine, or tasks of a Ray cluster."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from worldmodel.child import killed_by, last_line
from worldmodel.composition import UsageError
from worldmodel.trial import Work

ROOT = Path(__file__).parent.parent
_strict = ConfigDict(extra="forbid", frozen=True)


class Ended(NamedTuple):
    """How a worker ended: its exit code, negative for a signal and None where nobody knows, and its last words."""

    code: int | None
    reason: str

    @property
    def killed(self) -> bool:
        """Whether it was ended from outside."""
        return self.code is None or self.code < 0 or self.code == 130


class Worker(Protocol):
    """A worker that was started."""

    def ended(self) -> Ended | None:
        """How it ended, None while it runs."""

    def stop(self) -> None:
        """Ask it to save its trial and to end."""

    def kill(self) -> None:
        """End it, and its trial, at once."""


class Launcher(Protocol):
    """Starts workers."""

    def start(self, work: Work, log: Path) -> Worker:
        """Start one; what it prints goes to the file."""

    def close(self) -> None:
        """Release what the launcher holds, after its workers have ended."""


@dataclass(config=_strict)
class LocalConfig:
    """Processes on this machine."""

    name: Literal["local"]

    def open(self, workers: int) -> Launcher:
        return Local()


@dataclass(config=_strict)
class RayConfig:
    """Tasks of a Ray cluster."""

    name: Literal["ray"]
    address: str
    cpus: Annotated[float, Field(ge=0)]
    gpus: Annotated[float, Field(ge=0)]

    def open(self, workers: int) -> Launcher:
        """Raises UsageError where Ray is not installed, or no cluster is at the address."""
        return Ray(self, workers)


class Local:
    """Starts workers as processes in sessions of their own: Ctrl-C reaches them through the command alone."""

    def start(self, work: Work, log: Path) -> Worker:
        return _Process(work, log)

    def close(self) -> None:
        pass


class _Process:
    def __init__(self, work: Work, log: Path) -> None:
        self._log = log
        with log.open("ab") as file:
            self._written = file.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worldmodel.worker"],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        _tell(self._process.stdin, work)

    def ended(self) -> Ended | None:
        code = self._process.poll()
        if code is None:
            return None
        if code < 0:
            self.kill()  # its trial goes with it
            return Ended(code, killed_by(code))
        return Ended(code, last_line(self._log, self._written))

    def stop(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # the group lives as long as one of its processes
        self._process.wait()


class Ray:
    """Starts workers as tasks of a Ray cluster. Each runs the same process as a local one, wherever Ray puts it."""

    def __init__(self, config: RayConfig, workers: int) -> None:
        try:
            import ray
        except ImportError:
            raise UsageError('launcher=ray: needs ray: pip install "worldmodel[ray]"') from None
        self._ray, self._config = ray, config
        options: dict[str, Any] = {"address": config.address, "log_to_driver": False, "logging_level": "error"}
        if config.address == "local":
            cpus = max(os.cpu_count() or 1, -int(-workers * config.cpus // 1))
            options |= {"num_cpus": cpus, "include_dashboard": False}
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**options)
            signal.signal(signal.SIGTERM, before)  # Ray has put one of its own there
        except (ConnectionError, ValueError, RuntimeError) as error:
            line = " ".join(str(error).split())
            raise UsageError(f"launcher.address={config.address}: no Ray cluster can be reached: {line}") from None

    def start(self, work: Work, log: Path) -> Worker:
        task = self._ray.remote(num_cpus=self._config.cpus, num_gpus=self._config.gpus, max_retries=0, max_calls=1)(
            _run_worker
        )
        line = TypeAdapter(Work).dump_json(work).decode()
        return _Task(self._ray, task.remote(line, str(log), str(ROOT), os.getcwd()))

    def close(self) -> None:
        self._ray.shutdown()


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


def _run_worker(line: str, log: str, root: str, folder: str) -> tuple[int | None, str]:
    """What a Ray task does: start a worker, wait for it, and stop it when the task is cancelled."""
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if Path(root).is_dir():  # a checkout, which the worker of Ray may not have on its path
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH", "")]))
    with path.open("ab") as file:
        written = file.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "worldmodel.worker"],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            env=environment,
            cwd=folder if Path(folder).is_dir() else None,
        )
    assert process.stdin
    try:
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()
        while process.poll() is None:  # in slices: Ray interrupts between them
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()  # which stops it
        process.wait()
    code = process.returncode
    return code, killed_by(code) if code < 0 else last_line(path, written)


def _tell(stdin: IO[bytes] | None, work: Work) -> None:
    assert stdin
    with suppress(BrokenPipeError):  # how it ended is told by `ended`
        stdin.write(TypeAdapter(Work).dump_json(work) + b"\n")
        stdin.flush()


LauncherChoice = Annotated[LocalConfig | RayConfig, Field(discriminator="name")]
