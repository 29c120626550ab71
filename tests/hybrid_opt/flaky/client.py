"""A vendor that fails as told: for testing what must not lose a job."""

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Sequence
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import Capabilities, Limits, Programs
from hybrid_opt.backends.ledger.serialization import circuit_hash, pack_circuit, pack_program, unpack_result
from hybrid_opt.cost import Cost
from hybrid_opt.effect import refuse_idle
from hybrid_opt.errors import BackendError, Cancelled, CorruptResult, LostReply, ProblemError, TransientError
from hybrid_opt.paths import user_path

Rate = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
NAME = "tests.hybrid_opt.flaky:Flaky"
KINDS = ("refuse", "delay", "lose", "duplicate", "corrupt", "drop")
ROOT = str(Path(__file__).parents[3])
SERVER = "tests.hybrid_opt.flaky.server"
HANDSHAKE = 10.0  # seconds that connecting may take, which is no call that fails
ANSWERS = ("estimate", "id", "ids", "pending", "done", "cancelled", "gone", "failed", "stopped", "bill")


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class FlakyConfig:
    """How the vendor fails; rates are of calls, and each call fails in at most one way.

    refuse: the call is turned down. delay: the answer is late by up to twice `delay_seconds`. lose: the call is carried
    out, and the answer lost. duplicate: a job is taken twice, the copy to run `copy_seconds` later; other answers come
    twice. corrupt: the answer is damaged. drop: a job that has not run vanishes, and is not billed.

    inner: the name of the backend that the vendor runs. latency: seconds that a job waits in the queue. call_timeout:
    seconds after which an answer is given up. folder: where the vendor keeps its jobs and its bill, by default one for
    each name in the system's temporary folder. idle: seconds without callers and work after which its process ends; its
    folder stays. seed: of the failures.
    """

    inner: str = "statevector"
    refuse: Rate = 0.05
    delay: Rate = 0.05
    lose: Rate = 0.05
    duplicate: Rate = 0.05
    corrupt: Rate = 0.05
    drop: Rate = 0.05
    delay_seconds: Seconds = 0.02
    copy_seconds: Seconds = 60.0
    latency: Seconds = 0.0
    call_timeout: Annotated[float, Field(gt=0)] = 10.0
    folder: str | None = None
    idle: Seconds = 15.0
    seed: int = 0


class Flaky:
    """`tests.hybrid_opt.flaky:Flaky?inner=NAME&lose=0.2&folder=...`: a backend at a faulty vendor's. See FlakyConfig.

    The vendor is a process of its own, which outlives its callers, finds its jobs again when it is started anew, and
    keeps a bill: every job that it ran, in shots, seconds and dollars. Raises ProblemError for options that are not
    accepted and for a name that the vendor does not know.
    """

    Config = FlakyConfig

    def __init__(self, config: FlakyConfig | None = None, **options: Any) -> None:
        self.config = config or FlakyConfig(**options)
        told = {key: getattr(self.config, key) for key in FlakyConfig.__dataclass_fields__}
        changed = "&".join(f"{key}={value}" for key, value in told.items() if value != getattr(FlakyConfig(), key))
        self.name = NAME + (f"?{changed}" if changed else "")
        total = sum(told[kind] for kind in KINDS)
        if total > 1 + 1e-9:
            raise ProblemError(f"backend={self.name}: the rates sum to {total:g}; at most 1 is accepted")
        refuse_idle(self.config, "delay_seconds", not self.config.delay, "delay above 0", f"backend={self.name}: ")
        refuse_idle(
            self.config, "copy_seconds", not self.config.duplicate, "duplicate above 0", f"backend={self.name}: "
        )
        self.folder = user_path(self.config.folder or _default_folder(self.config.inner), "folder").absolute()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            reason = f"cannot be made ({error.strerror}); a folder that can be written is accepted"
            raise ProblemError(f"backend={self.name}: folder={self.config.folder}: {reason}") from error
        self._address = str(_socket_folder() / hashlib.sha256(str(self.folder).encode()).hexdigest()[:20])
        self._lock, self._idle = threading.Lock(), list[Connection]()
        self._process: subprocess.Popen[bytes] | None = None
        self._serial = 0
        self._about: tuple[Capabilities, Limits] | None = None
        self._release(self._open())

    @property
    def capabilities(self) -> Capabilities:
        assert self._about is not None
        return self._about[0]

    @property
    def limits(self) -> Limits:
        assert self._about is not None
        return self._about[1]

    def estimate(self, programs: Programs) -> Cost:
        """What the vendor's price list says; it never fails."""
        content = circuit_hash(programs), pack_circuit(programs), pack_program(programs)
        for _ in range(9):
            try:
                cost: Cost = self.call("estimate", *content)[1]
                return cost
            except LostReply:  # a connection of before an outage
                continue
        raise BackendError(f"backend={self.name}: the vendor does not answer")

    def submit(self, programs: Programs, key: str, seed: int = 0) -> "FlakyJob":
        """Send programs as one job; the seed travels along. Raises TransientError, LostReply, CorruptResult."""
        content = circuit_hash(programs), pack_circuit(programs), pack_program(programs)
        return FlakyJob(self, key, self.call("submit", key, seed, *content)[1])

    def find(self, key: str) -> "FlakyJob | None":
        """The first job of this key that was neither cancelled nor dropped."""
        jobs = self.find_all(key)
        return jobs[0] if jobs else None

    def find_all(self, key: str) -> Sequence["FlakyJob"]:
        """All of them, the vendor's own copies too."""
        return [FlakyJob(self, key, identity) for identity in self.call("find", key)[1]]

    def bill(self) -> list[dict[str, Any]]:
        """What the vendor bills: vendor_id, key, shots, seconds, dollars of every job that it ran."""
        rows: list[dict[str, Any]] = self.call("bill")[1]
        return rows

    def stop(self) -> None:
        """End the vendor's process, as an outage does; the next call starts it again."""
        self.call("stop")
        self.close()
        if self._process is not None:
            self._process.wait(10)

    def close(self) -> None:
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def call(self, operation: str, *arguments: Any) -> tuple[Any, ...]:
        """Ask the vendor. Raises LostReply where no answer comes, and what the answer says."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
            self._serial += 1
            serial = self._serial
        connection = connection or self._open()
        try:
            connection.send((serial, operation, arguments))
            end = time.monotonic() + self.config.call_timeout
            while True:
                if not connection.poll(max(0.0, end - time.monotonic())):
                    raise LostReply(f"backend={self.name}: no answer within {self.config.call_timeout:g} s")
                number, answer = connection.recv()
                if number == serial:  # others are late copies of earlier answers
                    break
        except (EOFError, OSError) as error:
            connection.close()
            raise LostReply(f"backend={self.name}: the connection was lost") from error
        except BaseException:
            connection.close()
            raise
        self._release(connection)
        return self._understood(answer)

    def _understood(self, answer: tuple[Any, ...]) -> tuple[Any, ...]:
        kind = answer[0]
        if kind == "refused":
            raise TransientError(f"backend={self.name}: too many requests")
        if kind == "problem":
            raise ProblemError(answer[1])
        if kind == "error":
            raise BackendError(answer[1])
        if kind not in ANSWERS:
            raise CorruptResult(f"backend={self.name}: an answer that cannot be read")
        return answer

    def _release(self, connection: Connection) -> None:
        with self._lock:
            self._idle.append(connection)

    def _open(self, again: bool = True) -> Connection:
        """A connection; starts the vendor where there is none, and once more where it was about to end."""
        connection = self._connect()
        if connection is None:
            with open(self.folder / "start.lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                connection = self._connect() or self._start()
        limit = max(HANDSHAKE, self.config.call_timeout)
        try:
            connection.send(self.config)
            if not connection.poll(limit):
                raise LostReply(f"backend={self.name}: no answer within {limit:g} s")
            self._about = connection.recv()
        except (EOFError, OSError) as error:
            if again:
                return self._open(again=False)
            raise LostReply(f"backend={self.name}: the connection was lost") from error
        return connection

    def _connect(self) -> Connection | None:
        try:
            return Client(self._address, "AF_UNIX")
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    def _start(self) -> Connection:
        log = self.folder / "vendor.log"
        command = [sys.executable, "-m", SERVER, str(self.folder), self._address, self.config.inner]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, *(path or os.getcwd() for path in sys.path)])}
        with open(log, "ab") as output:
            self._process = subprocess.Popen(  # in a session of its own: what kills us does not reach it
                [*command, str(self.config.idle)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        for _ in range(6000):
            connection = self._connect()
            if connection is not None:
                return connection
            if self._process.poll() is not None:
                lines = log.read_text(errors="replace").strip().splitlines() or ["no reason was given"]
                if self._process.returncode == ProblemError.exit_code:
                    raise ProblemError(lines[-1])
                raise BackendError(f"backend={self.name}: its process ended: {lines[-1]}")
            time.sleep(0.01)
        raise LostReply(f"backend={self.name}: its process does not answer")


class FlakyJob:
    """A job at the vendor's. Every look at it is a call, which may fail."""

    def __init__(self, backend: Flaky, key: str, vendor_id: str) -> None:
        self._backend, self.key, self.vendor_id = backend, key, vendor_id

    def done(self) -> bool:
        """Whether the vendor has ended it; False where the call failed."""
        try:
            return bool(self._backend.call("result", self.vendor_id, 0.0)[0] != "pending")
        except TransientError:
            return False

    def result(self, timeout: float | None = None) -> Any:
        """Fetch the result, anew at every call. Raises TransientError where the vendor does not know the job."""
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while True:
            left = max(0.0, end - time.monotonic())
            answer = self._backend.call("result", self.vendor_id, min(left, self._backend.config.call_timeout / 2))
            if answer[0] == "done":
                if zlib.crc32(answer[1]) != answer[2]:
                    raise CorruptResult(f"job {self.vendor_id}: the checksum of its result is wrong")
                return unpack_result(answer[1])
            if answer[0] == "cancelled":
                raise Cancelled(f"job {self.vendor_id} was cancelled")
            if answer[0] == "failed":
                raise BackendError(answer[1])
            if answer[0] == "gone":
                raise TransientError(f"backend={self._backend.name}: has no job {self.vendor_id}")
            if time.monotonic() >= end:
                raise TimeoutError(f"job {self.vendor_id}: no result within {timeout:g} s")

    def cancel(self) -> bool:
        """Cancel it where it has not run. Raises TransientError."""
        return bool(self._backend.call("cancel", self.vendor_id)[1])


def _socket_folder() -> Path:
    """Where sockets are, which must have short names; nobody else may enter."""
    folder = Path(tempfile.gettempdir()) / f"hybrid_opt-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise BackendError(f"{folder}: belongs to somebody else")
    return folder


def _default_folder(inner: str) -> Path:
    return _socket_folder() / f"flaky-{re.sub(r'[^a-zA-Z0-9]+', '-', inner)}"
