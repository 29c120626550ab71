"""Atomic files: a reader finds the old content or the new, never a part of it, whatever happens while it is written."""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class WriteError(Exception):
    """A file could not be written: the disk is full, or gone. The message names the file and the cause."""

    exit_code = 1

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(f"{path}: cannot be written: {cause.strerror or cause}")


class ReadError(Exception):
    """A file is there and could not be read, for a cause that is not in its content. The message is one line."""

    CAUSES = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE)

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(f"{path}: cannot be read: {cause.strerror or cause}; nothing was changed")
        self.exit_code = 2 if cause.errno in (errno.EACCES, errno.EPERM) else 1


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise ReadError where reading fails and the content is not to blame."""
    try:
        yield
    except OSError as error:
        if error.errno in ReadError.CAUSES:
            raise ReadError(path, error) from error
        raise


class _Raw(io.FileIO):
    """A file that remembers why it failed: torch.save turns the cause into an error of its own."""

    failure: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write, put in the place of `path` when the block ends.

    It is written beside `path`, synced to the disk and renamed, and the folder is synced as well. After an exception
    the file at `path` is what it was and nothing is left beside it. Raises WriteError when the disk fails.
    """
    temporary = path.with_name(f".{path.name}.tmp")  # one name: what a killed process left is overwritten
    raw: _Raw | None = None
    try:
        temporary.unlink(missing_ok=True)  # of a killed process; or a link, which is not followed
        raw = _Raw(temporary, "x")
        file = io.BufferedWriter(raw, buffer_size=1 << 20)
        yield file
        file.flush()
        os.fsync(raw.fileno())
        raw.close()
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        if raw is not None:
            raw.close()  # before the buffer, which would try to write the rest
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        cause = raw.failure if raw is not None and raw.failure else error
        if isinstance(cause, OSError):
            raise WriteError(path, cause) from error
        raise


def sync_folder(path: Path) -> None:
    """Write a folder's entries to the disk, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
