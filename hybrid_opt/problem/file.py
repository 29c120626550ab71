"""Qubos in one file: .npz with a format version, no pickle, so that problems that were posed can be used again."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hybrid_opt.errors import ProblemError
from hybrid_opt.paths import user_path
from hybrid_opt.problem.qubo import Qubo

FORMAT = 1


def save_problems(path: str | Path, qubos: Qubo | Sequence[Qubo]) -> None:
    """Write Qubos with their constraints; the file appears whole or not at all. Labels are not kept."""
    qubos = [qubos] if isinstance(qubos, Qubo) else qubos
    if not qubos or not all(isinstance(qubo, Qubo) for qubo in qubos):
        raise ProblemError(f"qubos: {len(qubos)} given, or others among them; at least one Qubo is needed")
    path = check_path(path)
    arrays = {"format": np.array(FORMAT), "count": np.array(len(qubos))}
    for number, qubo in enumerate(qubos):
        block = np.full(qubo.n, -1, np.int64)  # of each variable, -1: of none
        for place, members in enumerate(qubo.one_hot):
            block[list(members)] = place
        ones = -1 if qubo.cardinality is None else qubo.cardinality
        arrays[f"matrix_{number}"], arrays[f"block_{number}"] = qubo.matrix, block
        arrays[f"rest_{number}"] = np.array([qubo.offset, ones])
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # of a killed process; or a link, which is not followed
    with open(temporary, "xb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    os.replace(temporary, path)


def check_path(path: str | Path) -> Path:
    """Where a file can be made. Raises ProblemError where there is no such folder."""
    path = user_path(path, "file")
    if not path.absolute().parent.is_dir():
        raise ProblemError(f"file={path}: no such folder")
    return path


def load_problems(path: str | Path) -> list[Qubo]:
    """Read Qubos. Raises ProblemError, in one line, for a file that is not one of `save_problems`."""
    try:
        with np.load(user_path(path, "file"), allow_pickle=False) as arrays:
            if int(arrays["format"]) != FORMAT:
                raise ValueError(f"format {int(arrays['format'])}; {FORMAT} is read")
            return [_problem(arrays, number) for number in range(int(arrays["count"]))]
    except FileNotFoundError:
        raise ProblemError(f"file={path}: there is no such file of problems") from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise ProblemError(f"file={path}: no file of problems, or a damaged one ({reason})") from error


def _problem(arrays: "np.lib.npyio.NpzFile", number: int) -> Qubo:
    block = arrays[f"block_{number}"]
    offset, ones = arrays[f"rest_{number}"]
    one_hot = [np.flatnonzero(block == place).tolist() for place in range(block.max() + 1)]
    return Qubo(arrays[f"matrix_{number}"], offset, one_hot=one_hot, cardinality=None if ones < 0 else int(ones))
