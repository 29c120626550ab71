"""Paths that a user gives."""

from pathlib import Path

from hybrid_opt.errors import ProblemError


def user_path(path: str | Path, key: str = "") -> Path:
    """The path with a leading ~ or ~USER written out. Raises ProblemError where it names no home, or is no path.

    key: what the user gave it for, which the error names.
    """
    given = f"{key}={path}" if key else str(path)
    if "\0" in given:
        raise ProblemError(f"{given!r}: holds a null byte; the path of a file or folder is accepted")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ProblemError(f"{given}: there is no such home folder; give the path without its ~") from None
