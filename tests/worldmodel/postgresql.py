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

import pytest


def _binaries() -> Path:
    """The folder of its programs: on the path, or where Debian keeps them."""
    found = [Path(name).parent for name in [shutil.which("initdb")] if name]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in found:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.skip("no PostgreSQL server is installed (Debian: apt install postgresql)")


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server's database; as root it runs as nobody, since it refuses root."""
    pytest.importorskip("psycopg", reason='no driver: pip install "worldmodel[postgresql]"')
    binaries, folder = _binaries(), Path(tempfile.mkdtemp(prefix="postgresql-"))
    as_nobody = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
    if as_nobody:
        shutil.chown(folder, "nobody", "nogroup")
    initdb = [binaries / "initdb", "-D", folder / "data", "-U", "tester", "--auth=trust", "--no-sync"]
    initdb += ["--locale=C", "--encoding=UTF8"]
    process = None
    try:
        done = subprocess.run(initdb, capture_output=True, text=True, check=False, cwd=folder, **as_nobody)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        postgres = [binaries / "postgres", "-D", folder / "data", "-k", folder, "-p", str(port), "-F"]
        process = subprocess.Popen(postgres, stderr=subprocess.DEVNULL, cwd=folder, **as_nobody)  # type: ignore[call-overload]
        url = f"postgresql://tester:secret@127.0.0.1:{port}/postgres"
        deadline = time.monotonic() + 60
        while not _answers(url):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        yield url
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # end without waiting for clients
            process.wait(30)
        shutil.rmtree(folder)


def _answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
