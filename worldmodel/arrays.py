"""Files of named arrays: uncompressed npz with checksums, written piece by piece and never through pickle."""

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldmodel.atomic_file import atomic_file


class CorruptFile(ValueError):
    """A file of a run folder is truncated or damaged; the message is one line for the user."""

    exit_code = 2


def write_arrays(path: Path, arrays: Iterable[tuple[str, NDArray[Any]]]) -> None:
    """Write named arrays one after another, atomically; only one is in memory at a time."""
    with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays:
            with archive.open(name + ".npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def read_arrays(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Read them back one by one. Raises CorruptFile when the file is missing, truncated or fails its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    yield member.removesuffix(".npy"), np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptFile(
            f"{path}: cannot be read ({error}); it is a file of arrays written by this program"
        ) from error
