"""The process behind Flaky: takes jobs, runs them on a backend, bills them, and fails as it is told."""

import fcntl
import os
import sqlite3
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import Backend, Programs, Result
from hybrid_opt.backends.errors import told
from hybrid_opt.backends.ledger.serialization import circuits_of, pack_result, unpack_program, unpack_result
from hybrid_opt.backends.programs import each, total
from hybrid_opt.backends.qiskit.loading import load_qiskit
from hybrid_opt.cost import Cost
from hybrid_opt.errors import BackendError, ProblemError
from tests.hybrid_opt.flaky.client import KINDS, FlakyConfig

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, seed INTEGER NOT NULL, status TEXT NOT NULL, due REAL NOT NULL,
    hash TEXT NOT NULL, circuit BLOB NOT NULL, program BLOB NOT NULL, result BLOB, error TEXT
);
CREATE INDEX IF NOT EXISTS jobs_key ON jobs (key);
CREATE INDEX IF NOT EXISTS jobs_due ON jobs (status, due);
CREATE TABLE IF NOT EXISTS bill (vendor_id TEXT PRIMARY KEY, key TEXT, shots INTEGER, seconds REAL, dollars REAL);
"""
SECONDS, DOLLARS = 1e-4, 1e-3  # the price of a shot
Answer = tuple[Any, ...]


class Vendor:
    """Jobs and their bill, in the folder; one worker that runs what is due, in order."""

    def __init__(self, folder: Path, backend: Backend) -> None:
        self.backend = backend
        self._lock, self._ended = threading.RLock(), threading.Condition()
        self._work, self.stopping = threading.Event(), threading.Event()
        self._circuits: dict[str, list[Any]] = {}
        self._database = sqlite3.connect(folder / "vendor.sqlite", isolation_level=None, check_same_thread=False)
        self._database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;" + SCHEMA)
        self._query("UPDATE jobs SET status = 'queued' WHERE status = 'running'")  # it was not billed

    def answer(self, operation: str, arguments: Sequence[Any], fault: str, config: FlakyConfig) -> Answer:
        """Carry out a call; what a fault does to jobs is done here."""
        if operation == "submit":
            return self._submit(*arguments, fault=fault, config=config)
        if operation == "find":
            rows = self._query("SELECT id FROM jobs WHERE key = ? AND status != 'cancelled' ORDER BY rowid", *arguments)
            return "ids", [row[0] for row in rows]
        if operation == "bill":
            names = ("vendor_id", "key", "shots", "seconds", "dollars")
            rows = self._query("SELECT * FROM bill ORDER BY rowid")
            return "bill", [dict(zip(names, row, strict=True)) for row in rows]
        if operation == "estimate":
            return "estimate", _price(self.backend.estimate(self._programs(*arguments)))
        if fault == "drop":
            same = "key = (SELECT key FROM jobs WHERE id = ?)"
            self._query(f"DELETE FROM jobs WHERE status = 'queued' AND {same}", arguments[0])
        if operation == "cancel":
            self._query("UPDATE jobs SET status = 'cancelled' WHERE id = ? AND status = 'queued'", *arguments)
            rows = self._query("SELECT status FROM jobs WHERE id = ?", *arguments)
            return "stopped", bool(rows) and rows[0][0] == "cancelled"
        return self._result(*arguments)

    def run(self) -> None:
        """Run what is due, for ever."""
        while True:
            rows = self._query(
                "SELECT id, key, seed, hash, circuit, program FROM jobs WHERE status = 'queued' AND due <= ? "
                "ORDER BY due, rowid LIMIT 1",
                time.time(),
            )
            if not rows:
                self._work.wait(0.01)
                self._work.clear()
                continue
            identity, key, seed, *content = rows[0]
            with self._lock:
                self._query("UPDATE jobs SET status = 'running' WHERE id = ? AND status = 'queued'", identity)
                if not self._query("SELECT 1 FROM jobs WHERE id = ? AND status = 'running'", identity):
                    continue  # cancelled meanwhile
            try:
                result = self.backend.submit(self._programs(*content), identity, seed).result()
            except Exception as error:
                self._query("UPDATE jobs SET status = 'failed', error = ? WHERE id = ?", _said(error), identity)
            else:
                result = each(result, lambda one: replace(one, cost=_price(one.cost)))
                cost, packed = total(result), pack_result(result)
                amounts = cost.shots, cost.qpu_seconds, cost.dollars
                with self._lock:
                    self._database.execute("BEGIN")
                    self._query("INSERT INTO bill VALUES (?, ?, ?, ?, ?)", identity, key, *amounts)
                    self._query("UPDATE jobs SET status = 'done', result = ? WHERE id = ?", packed, identity)
                    self._database.execute("COMMIT")
            with self._ended:
                self._ended.notify_all()

    def busy(self) -> bool:
        """Whether there is something to run."""
        return bool(self._query("SELECT 1 FROM jobs WHERE status IN ('queued', 'running') LIMIT 1"))

    def _submit(
        self, key: str, seed: int, circuit_hash: str, circuit: bytes, program: bytes, *, fault: str, config: FlakyConfig
    ) -> Answer:
        self.backend.estimate(self._programs(circuit_hash, circuit, program))  # refuses what cannot run
        due = time.time() + config.latency
        first, second = uuid.uuid4().hex[:16], uuid.uuid4().hex[:16]
        for identity, start in ((first, due), (second, due + config.copy_seconds)):
            if fault != "drop" and (identity == first or fault == "duplicate"):
                row = (identity, key, seed, "queued", start, circuit_hash, circuit, program)
                self._query("INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)", *row)
        self._work.set()
        return "id", first

    def _result(self, identity: str, wait: float) -> Answer:
        end = time.monotonic() + wait
        while True:
            rows = self._query("SELECT status, result, error FROM jobs WHERE id = ?", identity)
            status = rows[0][0] if rows else "gone"
            left = end - time.monotonic()
            if status not in ("queued", "running") or left <= 0:
                break
            with self._ended:
                self._ended.wait(min(left, 0.02))
        if status == "done":
            return "done", rows[0][1], zlib.crc32(rows[0][1])
        if status == "failed":
            return "failed", rows[0][2]
        return ("pending" if status in ("queued", "running") else status,)

    def _programs(self, circuit_hash: str, circuit: bytes, program: bytes) -> Programs:
        """Circuits are unpacked once: backends know them by identity."""
        loaded = unpack_program(program, circuit, self._circuits.get(circuit_hash, ()))
        if circuit_hash not in self._circuits:
            if len(self._circuits) > 64:
                self._circuits.clear()
            self._circuits[circuit_hash] = list(circuits_of(loaded).values())
        return loaded

    def _query(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(query, values).fetchall()


class Desk:
    """Answers one caller, with that caller's share of failures."""

    def __init__(self, vendor: Vendor, connection: Connection, number: int) -> None:
        self._vendor, self._connection, self._number = vendor, connection, number

    def serve(self) -> None:
        """Until the caller goes."""
        with suppress(EOFError, OSError), self._connection as connection:
            config: FlakyConfig = connection.recv()
            connection.send((replace(self._vendor.backend.capabilities, remote=True), self._vendor.backend.limits))
            rng = np.random.default_rng([abs(config.seed), self._number])
            while True:
                serial, operation, arguments = connection.recv()
                if operation == "stop":
                    connection.send((serial, ("stopped", True)))
                    self._vendor.stopping.set()
                    return
                fault = "" if operation in ("bill", "estimate") else _fault(rng, config)
                if fault == "refuse":
                    connection.send((serial, ("refused",)))
                    continue
                try:
                    answer = self._vendor.answer(operation, arguments, fault, config)
                except ProblemError as error:
                    answer = ("problem", str(error))
                except Exception as error:  # the caller's to know: without an answer it would ask for ever
                    answer = ("error", _said(error))
                if fault == "delay":
                    time.sleep(rng.uniform(0, 2 * config.delay_seconds))
                if fault == "lose":
                    return
                if fault == "corrupt":
                    answer = _damaged(answer, rng)
                for _ in range(1 + (fault == "duplicate" and operation != "submit")):
                    connection.send((serial, answer))


def _said(error: Exception) -> str:
    """An error in one line; one of ours says already where it comes from."""
    return str(error) if isinstance(error, ProblemError | BackendError) else told(error)


def _fault(rng: np.random.Generator, config: FlakyConfig) -> str:
    """Which way a call fails, if any."""
    draw = rng.random()
    for kind in KINDS:
        draw -= getattr(config, kind)
        if draw < 0:
            return kind
    return ""


def _damaged(answer: Answer, rng: np.random.Generator) -> Answer:
    """A result with a wrong byte, or without its last row; any other answer cannot be read at all."""
    if answer[0] != "done":
        return ("#?!",)
    if rng.random() < 0.5:
        content = bytearray(answer[1])
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        return "done", bytes(content), answer[2]
    results = unpack_result(answer[1])
    result = results[-1] if isinstance(results, tuple) else results
    damaged = Result(
        tuple(sample[:-1] for sample in result.samples),
        tuple(entry[:-1] for entry in result.probabilities),
        None if result.means is None else result.means * np.nan,
        result.errors,
        result.cost,
    )
    packed = pack_result((*results[:-1], damaged) if isinstance(results, tuple) else damaged)
    return "done", packed, zlib.crc32(packed)


def _price(cost: Cost) -> Cost:
    return Cost(cost.shots, cost.circuits, qpu_seconds=SECONDS * cost.shots, dollars=DOLLARS * cost.shots)


def main(folder: str, address: str, name: str, idle: float) -> None:
    """Serve until nobody has called for `idle` seconds and nothing is left to run."""
    load_qiskit()
    backend = open_backend(name)
    with open(Path(folder) / "vendor.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one that is about to end may still be there
        vendor, desks = Vendor(Path(folder), backend), list[threading.Thread]()
        Path(address).unlink(missing_ok=True)
        listener = Listener(address, "AF_UNIX", backlog=64)

        def accept() -> None:
            while True:
                desks.append(threading.Thread(target=Desk(vendor, listener.accept(), len(desks)).serve, daemon=True))
                desks[-1].start()

        threading.Thread(target=vendor.run, daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        since = time.monotonic()
        while not vendor.stopping.wait(0.1) and time.monotonic() - since < idle:
            if vendor.busy() or any(desk.is_alive() for desk in desks):
                since = time.monotonic()
        listener.close()
        os._exit(0)  # with the lock: the next one runs anew what the worker has not ended, which must not bill it too


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
    except ProblemError as problem:
        print(problem)
        raise SystemExit(problem.exit_code) from problem
