"""A state in a file: tensors and Python scalars, checked, written atomically, read without running pickled code."""

import errno
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from worldmodel.runs.array_file import CorruptFile
from worldmodel.runs.atomic_file import ReadError, atomic_file, readable

FORMAT = 1
_SCALARS = (bool, int, float, str, type(None))


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and scalars. What was written is read back before it takes the place of the file at `path`.

    Raises WriteError, and TypeError for a leaf that could not be read again.
    """
    check_leaves(state)
    with atomic_file(path) as file:
        torch.save(dict(state), file)
        file.flush()
        try:
            load_state(Path(file.name), mmap=True, sums=True)
        except CorruptFile as error:
            raise OSError(errno.EIO, f"what was written cannot be read back ({error})") from error


def check_leaves(state: Any, path: str = "state") -> None:
    """Raise TypeError, which names the leaf, unless all leaves are tensors or Python scalars."""
    kind = type(state)  # exactly: numpy's float64 is a float too, and loading refuses it
    if kind in (dict, OrderedDict):
        for key, value in state.items():
            check_leaves(key, f"the key {path}[{key!r}]")
            check_leaves(value, f"{path}[{key!r}]")
    elif kind in (list, tuple):
        for place, value in enumerate(state):
            check_leaves(value, f"{path}[{place}]")
    elif not (kind in _SCALARS or isinstance(state, torch.Tensor)):
        raise TypeError(f"{path} is a {kind.__module__}.{kind.__qualname__}: tensors and Python scalars can be saved")


def load_state(path: Path, mmap: bool = False, sums: bool | None = None) -> dict[str, Any]:
    """Read tensors and scalars. Raises CorruptFile, and ReadError for a file that may not be read.

    mmap: tensors stay in the file until they are looked at. sums: look at the checksums, by default unless mmap.
    """
    try:
        with readable(path), path.open("rb"):
            pass
        if sums or (sums is None and not mmap):
            _check_sums(path)
        with readable(path), torch.serialization.safe_globals(_NUMPY):
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        if state["format"] != FORMAT:
            raise ValueError(f"format {state['format']}, this program reads {FORMAT}")
        return state
    except ReadError:
        raise
    except Exception as error:  # torch.load raises whatever the damaged bytes lead to
        reason = " ".join(str(error).split())[:120]
        raise CorruptFile(f"{path}: cannot be read ({reason}); it is damaged, or not a checkpoint") from error


def _check_sums(path: Path) -> None:
    """Raise ValueError where the bytes of a tensor are not those that were written: torch.load takes any."""
    with zipfile.ZipFile(path) as archive:
        if (name := archive.testzip()) is not None:
            raise ValueError(f"{name} fails its checksum")


class _Double:
    """Stands for numpy's dtype of doubles."""

    def __init__(self, name: str, align: bool, copy: bool) -> None:
        if name != "f8":
            raise ValueError(f"a numpy scalar of type {name}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[:2] != (3, "<"):
            raise ValueError("a numpy scalar of another byte order")


def _double(kind: _Double, data: bytes) -> float:
    value: float = struct.unpack("<d", data)[0]
    return value


# States of earlier code may hold numpy's doubles (`replay.fresh_every`), which are read as Python's.
_NUMPY: list[Any] = [
    (_Double, "numpy.dtype"),
    (_double, "numpy._core.multiarray.scalar"),
    (_double, "numpy.core.multiarray.scalar"),
]
