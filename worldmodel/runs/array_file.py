"""Files of named arrays: uncompressed npz with checksums, written piece by piece and never through pickle."""

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldmodel.runs.atomic_file import ReadError, atomic_file, readable


class CorruptFile(ValueError):
    """A file of a run folder is truncated or damaged; the message is one line for the user."""

    exit_code = 2


def write_arrays(path: Path, arrays: Iterable[tuple[str, NDArray[Any]]]) -> None:
    """Write named arrays one after another, atomically; only one is in memory at a time."""
    with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        count = 0
        for name, array in arrays:
            with archive.open(name + ".npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
            count += 1
        archive.comment = b"%d arrays" % count


def read_arrays(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Read them back one by one.

    Raises CorruptFile when the file is missing, truncated or fails its checksum, and ReadError when it may not be read.
    """
    try:
        with readable(path), zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if archive.comment != b"%d arrays" % len(members):
                raise ValueError("arrays are missing")
            for member in members:
                with archive.open(member) as file:
                    yield member.removesuffix(".npy"), np.lib.format.read_array(file, allow_pickle=False)
    except ReadError:
        raise
    except Exception as error:  # the readers raise whatever the damaged bytes lead to
        reason = " ".join(str(error).split())[:120]
        raise CorruptFile(f"{path}: cannot be read ({reason}); a file of arrays of this program is accepted") from error
