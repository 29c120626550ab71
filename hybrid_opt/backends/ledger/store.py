"""The ledger: every program that was sent to a backend, what became of it and what it cost, in an SQLite file.

A job is one request and ends once; an attempt is one time that it was sent. A row is committed before anything is sent,
and its key is sent along, so whoever opens the file later finds the job again.
"""

import atexit
import os
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hybrid_opt.backends.ledger.budget import UNITS, amounts, limits_of
from hybrid_opt.backends.ledger.config import LedgerConfig
from hybrid_opt.backends.ledger.file import HOST, born, connect
from hybrid_opt.backends.ledger.sqlite import sqlite_errors
from hybrid_opt.backends.redaction import redact
from hybrid_opt.cost import Cost
from hybrid_opt.errors import BackendError, BudgetExceeded, ProblemError
from hybrid_opt.paths import user_path


@dataclass(frozen=True)
class Claim:
    """The row that a request got. new: it was never sent. backend: where its latest attempt is, which has `number`."""

    key: str
    number: int
    backend: str
    new: bool = False
    resumed: bool = False
    origin: str = "run"
    result: bytes | None = None


class Ledger:
    """A ledger file, open. Several threads and processes may share one.

    path: of the file, made where there is none; ":memory:" for one that nobody else sees. budget: the most that may be
    spent by all who share the file, a mapping of shots, seconds (of the processor) and dollars, or a Cost, whose zeros
    are no limits; None leaves the file's own. options: of LedgerConfig.

    Raises ProblemError for a file that is no ledger, an unknown option or a value that is not accepted.
    """

    def __init__(self, path: str | Path, budget: Any = None, *, must_exist: bool = False, **options: Any) -> None:
        try:
            self.config = LedgerConfig(**options)
        except ValidationError as error:
            first = error.errors()[0]
            raise ProblemError(f"ledger.{first['loc'][0]}={first['input']!r}: {first['msg']}") from error
        if not isinstance(path, str | os.PathLike):
            raise ProblemError(f"ledger={path!r}: a Ledger, or the path of its file, is accepted")
        self.path, self.owner = str(path if str(path) == ":memory:" else user_path(path, "ledger")), uuid.uuid4().hex
        self._lock, self._collected = threading.RLock(), set[str]()
        limits = None if budget is None else limits_of(budget)
        self._database = connect(self.path, must_exist)
        self.readable_only = bool(self._database.execute("PRAGMA query_only").fetchone()[0])
        if self.readable_only:
            return
        with self._transaction() as database:
            me = (self.owner, HOST, os.getpid(), born(os.getpid()))
            database.execute("INSERT INTO owners VALUES (?, ?, ?, ?, NULL)", me)
        atexit.register(self._at_exit)
        if limits is not None:
            self.limit(limits)

    def limit(self, budget: Any) -> None:
        """Replace the budget of the file."""
        limits = limits_of(budget)
        with self._transaction() as database:
            database.execute("DELETE FROM budget")
            database.executemany("INSERT INTO budget VALUES (?, ?)", limits.items())

    def claim(
        self,
        key: str,
        request: str,
        backend: str,
        seed: int,
        estimate: Cost,
        circuit: tuple[str, bytes],
        program: bytes,
    ) -> Claim:
        """The row for a request: its own, one to resume, one to serve from the cache, or a new one within the budget.

        circuit: its hash and content. Raises BudgetExceeded, and ProblemError where the key names another request.
        """
        with self._transaction() as database:
            row = database.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
            if row is not None:
                if row["request"] != request:
                    raise ProblemError(f"key={key}: names another request in {self.path}; a key of its own is accepted")
                if row["status"] == "open" and self._alive(row["owner"]):
                    raise ProblemError(f"key={key}: is at work already; a key of its own is accepted")
                return self._adopt(row, estimate)
            for row in self._earlier(request) if self.config.resume else ():
                return self._adopt(row, estimate)
            if self.config.cache:
                row = database.execute(
                    "SELECT * FROM jobs WHERE request = ? AND status = 'done' AND origin = 'run' "
                    "AND result IS NOT NULL ORDER BY ended DESC LIMIT 1",
                    (request,),
                ).fetchone()
                if row is not None:
                    return Claim(row["key"], 0, backend, origin="cache", result=row["result"])
            self._afford(estimate)
            database.execute("INSERT OR IGNORE INTO circuits VALUES (?, ?)", circuit)
            database.execute(
                "INSERT INTO jobs (key, request, backend, seed, owner, status, origin, created, circuit, program) "
                "VALUES (?, ?, ?, ?, ?, 'open', 'run', ?, ?, ?)",
                (key, request, backend, str(seed), self.owner, time.time(), circuit[0], program),
            )
            self._begin(key, 1, backend, request, estimate)
            return Claim(key, 1, backend, new=True)

    def accepted(self, key: str, number: int, vendor_id: str | None) -> None:
        """Record that the backend has the job, under an id of its own."""
        with self._transaction() as database:
            database.execute(
                "UPDATE attempts SET status = 'sent', vendor_id = ? WHERE key = ? AND number = ? AND ended IS NULL",
                (vendor_id, key, number),
            )

    def again(self, key: str, number: int, status: str, error: str, backend: str, estimate: Cost, cost: Cost) -> int:
        """End an attempt that cost `cost`, reserve the next one, and return its number. Raises BudgetExceeded."""
        with self._transaction() as database:
            job = self._mine(key)
            self._end(key, number, status, cost, error)
            self._afford(estimate)
            last = database.execute("SELECT MAX(number) FROM attempts WHERE key = ?", (key,)).fetchone()[0]
            self._begin(key, last + 1, backend, job["request"], estimate)
            return int(last) + 1

    def finish(
        self,
        key: str,
        number: int,
        status: str,
        cost: Cost,
        *,
        result: bytes | None = None,
        origin: str = "run",
        error: str | None = None,
    ) -> None:
        """End a job and its attempt: done, failed or cancelled. Raises BackendError where it had ended already."""
        kept = result if result is not None and len(result) <= self.config.keep else None
        error = None if error is None else redact(error)
        with self._transaction() as database:
            self._mine(key)
            self._end(key, number, status, cost, error)
            database.execute(
                "UPDATE jobs SET status = ?, origin = ?, ended = ?, result = ?, error = ?, stop = 0 WHERE key = ?",
                (status, origin, time.time(), kept, error, key),
            )

    def surplus(self, key: str, backend: str, vendor_id: str | None, cost: Cost) -> None:
        """Book a copy of a job that the backend ran and billed too."""
        with self._transaction() as database:
            job = self._mine(key)
            known = "SELECT 1 FROM attempts WHERE key = ? AND vendor_id = ?"
            if database.execute(known, (key, vendor_id)).fetchone() is None:
                last = database.execute("SELECT MAX(number) FROM attempts WHERE key = ?", (key,)).fetchone()[0]
                self._begin(key, last + 1, backend, job["request"], Cost())
                self.accepted(key, last + 1, vendor_id)
                self._end(key, last + 1, "surplus", cost, None)

    def release(self, key: str, error: str) -> None:
        """Leave a job as it is, under way, for whoever asks for it next."""
        with self._transaction() as database:
            database.execute(
                "UPDATE jobs SET owner = NULL, error = ?, stop = 0 WHERE key = ? AND owner = ? AND status = 'open'",
                (redact(error), key, self.owner),
            )

    def adopt(self, key: str, everyones: bool = False) -> Claim | None:
        """Take over an unfinished job whose process is gone (or said to be gone); None where there is none."""
        with self._transaction() as database:
            row = database.execute("SELECT * FROM jobs WHERE key = ? AND status = 'open'", (key,)).fetchone()
            if row is None or (self._alive(row["owner"]) and not (everyones and not self._local(row["owner"]))):
                return None
            return self._adopt(row, Cost(), stop=True)

    def stop(self, key: str) -> None:
        """Ask the process at work on a job to cancel it."""
        with self._transaction() as database:
            database.execute("UPDATE jobs SET stop = 1 WHERE key = ? AND status = 'open'", (key,))

    def stopped(self, key: str) -> bool:
        """Whether a job was asked to be cancelled."""
        with self._reading() as database:
            row = database.execute("SELECT stop FROM jobs WHERE key = ?", (key,)).fetchone()
        return row is not None and bool(row["stop"])

    def collect(self, key: str) -> None:
        """Note that the program has its result; written down when the ledger is closed."""
        with self._lock:
            self._collected.add(key)

    def forget(self) -> None:
        """Forget what was collected: it was not for a program that asked for it."""
        with self._lock:
            self._collected.clear()

    def content(self, key: str) -> tuple[bytes, bytes]:
        """The program of a job and its circuit, as they were packed. Raises ProblemError for an unknown key."""
        query = "SELECT program, content FROM jobs JOIN circuits ON circuit = hash WHERE key = ?"
        with self._reading() as database:
            row = database.execute(query, (key,)).fetchone()
        if row is None:
            raise ProblemError(f"key={key}: no such job in {self.path}")
        return row["program"], row["content"]

    def result(self, key: str) -> bytes | None:
        """The packed result of a finished job, where it was kept."""
        query = "SELECT result FROM jobs WHERE key = ? AND status = 'done'"
        with self._reading() as database:
            row = database.execute(query, (key,)).fetchone()
        return None if row is None else row["result"]

    def jobs(self, status: str | None = None) -> list[dict[str, Any]]:
        """The jobs, oldest first, without what is in them; those of one status, or all."""
        query = (
            "SELECT key, request, backend, seed, owner, status, origin, created, ended, error, circuit, "
            "length(result) AS bytes, collected, stop FROM jobs WHERE ? IS NULL OR status = ? ORDER BY created, rowid"
        )
        with self._reading() as database:
            return [dict(row) for row in database.execute(query, (status, status))]

    def attempts(self, key: str | None = None) -> list[dict[str, Any]]:
        """The attempts, oldest first: of one job, or all. Those that have not ended hold their estimate."""
        query = "SELECT * FROM attempts WHERE ? IS NULL OR key = ? ORDER BY begun, rowid"
        with self._reading() as database:
            return [dict(row) for row in database.execute(query, (key, key))]

    @property
    def budget(self) -> dict[str, float]:
        """The limits, by unit."""
        with self._reading() as database:
            return {row["unit"]: row["most"] for row in database.execute("SELECT * FROM budget")}

    @property
    def spent(self) -> Cost:
        """What all attempts that have ended did cost (shots, qpu_seconds, dollars)."""
        return self._sum("ended IS NOT NULL")

    @property
    def reserved(self) -> Cost:
        """The estimates of the attempts that are under way."""
        return self._sum("ended IS NULL")

    def close(self) -> None:
        """Close the file. Unless an exception is passing through, the process has come to its own end."""
        self._close(clean=sys.exc_info()[0] is None)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *error: object) -> None:
        self._close(clean=error[0] is None)

    def _at_exit(self) -> None:
        self._close(clean=getattr(sys, "last_type", None) is None)

    def _close(self, clean: bool) -> None:
        with self._lock:
            if self._database is None:
                return
            atexit.unregister(self._at_exit)
            try:
                if clean and not self.readable_only:
                    with self._transaction() as database:
                        database.execute("UPDATE owners SET ended = ? WHERE id = ?", (time.time(), self.owner))
                        marks = [(key,) for key in self._collected]
                        database.executemany("UPDATE jobs SET collected = 1 WHERE key = ?", marks)
            finally:
                self._database.close()
                self._database = None  # type: ignore[assignment]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and nobody else writes meanwhile. May be nested."""
        with self._lock:
            if self._database is None:
                raise BackendError(f"ledger={self.path}: is closed")
            if self.readable_only:
                raise ProblemError(f"ledger={self.path}: cannot be written; show and export are accepted")
            if self._database.in_transaction:
                yield self._database
                return
            with sqlite_errors(self.path):
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    yield self._database
                    self._database.execute("COMMIT")
                except BaseException:
                    if self._database.in_transaction:  # SQLite ends some by itself, where the disk is full
                        self._database.execute("ROLLBACK")
                    raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, sqlite_errors(self.path):
            if self._database is None:
                raise BackendError(f"ledger={self.path}: is closed")
            yield self._database

    def _earlier(self, request: str) -> Iterator[sqlite3.Row]:
        """Jobs of the same request that may be resumed; see LedgerConfig."""
        query = (
            "SELECT jobs.*, owners.ended AS parted FROM jobs LEFT JOIN owners ON owner = id WHERE request = ? "
            "AND owner IS NOT ? AND (status = 'open' OR status = 'done' AND result IS NOT NULL) ORDER BY created"
        )
        for row in self._database.execute(query, (request, self.owner)).fetchall():
            killed = row["owner"] is not None and row["parted"] is None
            if (row["status"] == "open" or killed or not row["collected"]) and not self._alive(row["owner"]):
                yield row

    def _adopt(self, row: sqlite3.Row, estimate: Cost, stop: bool = False) -> Claim:
        """Make a row this process's own. A job that did not end well is tried once more."""
        key, database = row["key"], self._database
        database.execute("UPDATE jobs SET owner = ?, stop = stop AND ? WHERE key = ?", (self.owner, stop, key))
        if row["status"] == "done" and row["result"] is not None:
            return Claim(key, 0, row["backend"], resumed=True, origin=row["origin"], result=row["result"])
        database.execute("UPDATE jobs SET status = 'open', ended = NULL WHERE key = ?", (key,))
        query = "SELECT * FROM attempts WHERE key = ? AND status != 'surplus' ORDER BY number DESC LIMIT 1"
        last = database.execute(query, (key,)).fetchone()
        if row["status"] in ("failed", "cancelled"):
            self._afford(estimate)
            number = database.execute("SELECT MAX(number) FROM attempts WHERE key = ?", (key,)).fetchone()[0] + 1
            self._begin(key, number, row["backend"], row["request"], estimate)
            return Claim(key, number, row["backend"], new=True, resumed=True)
        return Claim(key, last["number"], last["backend"], resumed=True)

    def _mine(self, key: str) -> sqlite3.Row:
        """The row of a job that this process is at work on."""
        row: sqlite3.Row | None = self._database.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
        if row is None or row["owner"] != self.owner or row["status"] != "open":
            state = "unknown" if row is None else f"{row['status']}, of another process"
            raise BackendError(f"job {key} is {state}")
        return row

    def _begin(self, key: str, number: int, backend: str, request: str, estimate: Cost) -> None:
        self._database.execute(
            "INSERT INTO attempts VALUES (?, ?, ?, NULL, ?, 'queued', ?, ?, ?, ?, NULL, NULL)",
            (key, number, backend, request, *amounts(estimate), time.time()),
        )

    def _end(self, key: str, number: int, status: str, cost: Cost, error: str | None) -> None:
        self._database.execute(
            "UPDATE attempts SET status = ?, shots = ?, seconds = ?, dollars = ?, ended = ?, error = ? "
            "WHERE key = ? AND number = ? AND ended IS NULL",
            (status, *amounts(cost), time.time(), None if error is None else redact(error), key, number),
        )

    def _afford(self, estimate: Cost) -> None:
        """Raise BudgetExceeded where the estimate is more than what neither was spent nor is reserved."""
        limits = self.budget
        if limits:
            used = dict(zip(UNITS, amounts(self._sum("1")), strict=True))
            for unit, amount in zip(UNITS, amounts(estimate), strict=True):
                if amount > 0 and used[unit] + amount > limits.get(unit, float("inf")) * (1 + 1e-12):
                    left = f"{used[unit]:g} are spent or reserved, and this needs {amount:g} more"
                    raise BudgetExceeded(f"budget.{unit}={limits[unit]:g}: {left}")

    def _sum(self, condition: str) -> Cost:
        query = f"SELECT TOTAL(shots), TOTAL(seconds), TOTAL(dollars) FROM attempts WHERE {condition}"
        with self._reading() as database:
            shots, seconds, dollars = database.execute(query).fetchone()
        return Cost(shots=int(shots), qpu_seconds=seconds, dollars=dollars)

    def _alive(self, owner: str | None) -> bool:
        """Whether an owner may still be at work. One on another host may."""
        row = self._database.execute("SELECT * FROM owners WHERE id = ?", (owner,)).fetchone()
        if row is None or row["ended"] is not None:
            return False
        if row["host"] != HOST:
            return True
        start = born(row["pid"])
        return start is not None and abs(start - row["born"]) < 3  # seconds by which the clock may have been set

    def _local(self, owner: str) -> bool:
        row = self._database.execute("SELECT host FROM owners WHERE id = ?", (owner,)).fetchone()
        return row is not None and row["host"] == HOST
