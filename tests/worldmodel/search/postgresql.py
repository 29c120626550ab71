"""A real PostgreSQL server for tests, in a folder of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def _binaries() -> Path:
    """The folder of its programs: on the path, or where Debian keeps them."""
    found = [Path(name).parent for name in [shutil.which("initdb")] if name]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in found:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.skip("no PostgreSQL server is installed (Debian: apt install postgresql)")


class Server:
    """A server, which may be stopped and started again. As root it runs as nobody, since it refuses root."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self._folder = binaries, folder
        self._user: dict[str, Any] = {}
        if os.getuid() == 0:
            self._user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(folder, "nobody", "nogroup")
        initdb = [binaries / "initdb", "-D", folder / "data", "-U", "tester", "--auth=trust", "--no-sync"]
        initdb += ["--locale=C", "--encoding=UTF8"]
        done = subprocess.run(initdb, capture_output=True, text=True, check=False, cwd=folder, **self._user)
        assert done.returncode == 0, done.stderr
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"postgresql://tester:secret@127.0.0.1:{self._port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        postgres = [self._binaries / "postgres", "-D", self._folder / "data", "-k", self._folder, "-p", str(self._port)]
        self._process = subprocess.Popen([*postgres, "-F"], stderr=subprocess.DEVNULL, cwd=self._folder, **self._user)
        deadline = time.monotonic() + 60
        while not _answers(self.url):
            assert self._process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)

    def stop(self, signal_number: signal.Signals = signal.SIGINT) -> None:
        """Stop it without waiting for clients: SIGINT is its fast mode, SIGQUIT the immediate one, as in a crash."""
        if self._process is not None:
            self._process.send_signal(signal_number)
            self._process.wait(30)
            self._process = None


@contextmanager
def server() -> Iterator[Server]:
    """A server in a folder of its own."""
    pytest.importorskip("psycopg", reason='no driver: pip install "worldmodel[postgresql]"')
    binaries, folder = _binaries(), Path(tempfile.mkdtemp(prefix="postgresql-"))
    try:
        started = Server(binaries, folder)
        try:
            yield started
        finally:
            started.stop()
    finally:
        shutil.rmtree(folder)


def _answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
