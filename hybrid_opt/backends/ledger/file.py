"""The file of a ledger, and the processes that work on it."""

import os
import socket
import sqlite3
import time
from pathlib import Path

from hybrid_opt.backends.ledger.sqlite import file_uri
from hybrid_opt.errors import ProblemError

HOST = socket.gethostname()
SCHEMA = """
CREATE TABLE owners (id TEXT PRIMARY KEY, host TEXT, pid INTEGER, born REAL, ended REAL);
CREATE TABLE budget (unit TEXT PRIMARY KEY, most REAL NOT NULL);
CREATE TABLE circuits (hash TEXT PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE jobs (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, backend TEXT NOT NULL, seed TEXT NOT NULL, owner TEXT,
    status TEXT NOT NULL, origin TEXT NOT NULL, created REAL NOT NULL, ended REAL, error TEXT,
    circuit TEXT NOT NULL, program BLOB NOT NULL, result BLOB,
    collected INTEGER NOT NULL DEFAULT 0, stop INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX jobs_request ON jobs (request);
CREATE INDEX jobs_status ON jobs (status);
CREATE TABLE attempts (
    key TEXT NOT NULL REFERENCES jobs, number INTEGER NOT NULL, backend TEXT NOT NULL, vendor_id TEXT,
    request TEXT NOT NULL, status TEXT NOT NULL, shots INTEGER NOT NULL, seconds REAL NOT NULL, dollars REAL NOT NULL,
    begun REAL NOT NULL, ended REAL, error TEXT, PRIMARY KEY (key, number)
);
PRAGMA user_version = 1;
"""


def connect(path: str, must_exist: bool) -> sqlite3.Connection:
    """Open the file, and make its tables where it has none.

    must_exist: the file is there, and is opened for reading where it cannot be written.
    """
    if path != ":memory:" and not (Path(path).is_file() if must_exist else Path(path).absolute().parent.is_dir()):
        raise ProblemError(f"ledger={path}: no such {'file' if must_exist else 'folder'}")
    if must_exist and not (os.access(path, os.W_OK) and os.access(Path(path).absolute().parent, os.W_OK)):
        return _read_only(path)
    try:
        database = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        database.row_factory = sqlite3.Row
        for _ in range(200):  # switching the journal does not wait for others by itself
            try:
                database.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError:
                time.sleep(0.05)
        database.execute("PRAGMA synchronous = FULL")
        database.execute("BEGIN IMMEDIATE")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        tables = {row["name"] for row in database.execute("SELECT name FROM sqlite_master")}
        if version == 0 and not tables:
            for statement in SCHEMA.split(";"):
                database.execute(statement)
        database.execute("COMMIT")
    except sqlite3.Error as error:
        raise ProblemError(f"ledger={path}: cannot be opened ({error})") from error
    if version > 1 or (version == 0 and tables):
        database.close()
        raise ProblemError(f"ledger={path}: not a ledger of this version; a new file, or one of version 1 is accepted")
    return database


def _read_only(path: str) -> sqlite3.Connection:
    """A file that cannot be written, such as one on a read-only file system."""
    try:
        log = Path(f"{path}-wal")
        settled = not log.exists() or not log.stat().st_size  # else what its log holds would be missed
        database = sqlite3.connect(
            file_uri(path, immutable=settled), uri=True, timeout=60, isolation_level=None, check_same_thread=False
        )
        database.row_factory = sqlite3.Row
        version = database.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise ProblemError(f"ledger={path}: cannot be opened for reading ({error})") from error
    if version != 1:
        database.close()
        raise ProblemError(f"ledger={path}: not a ledger of this version; one of version 1 is accepted")
    database.execute("PRAGMA query_only = ON")
    return database


def born(pid: int) -> float | None:
    """When a process began; None where there is none."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None
