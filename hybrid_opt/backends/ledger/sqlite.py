"""SQLite files: paths as they are meant, URIs, and errors as ours."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from hybrid_opt.errors import LedgerError
from hybrid_opt.paths import user_path


def file_uri(path: str | Path, *, immutable: bool = False) -> str:
    """Return the URI that opens a file for reading, whatever characters its path has.

    immutable: nobody writes to it, so that no lock and no journal is needed: files of a read-only file system.
    """
    absolute = quote(str(user_path(path).absolute()))
    return f"file:{absolute}?mode=ro" + ("&immutable=1" if immutable else "")


@contextmanager
def sqlite_errors(path: str | Path) -> Iterator[None]:
    """Raise errors of SQLite (a full disk, a damaged file) as a LedgerError that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"ledger={path}: {' '.join(str(error).split())}") from error
