"""error.log of a run: the whole tracebacks of what failed in the user's environment."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from worldmodel.envs import EnvironmentFault
from worldmodel.envs.faults import traceback_of

ERROR_LOG = "error.log"


@contextmanager
def error_log(folder: Callable[[], Path]) -> Iterator[None]:
    """Append the traceback of an EnvironmentFault to the error.log of a folder, and name that file in its line.

    folder: where it is then. Nothing is ever taken out of the file, whoever wrote it.
    """
    try:
        yield
    except EnvironmentFault as error:
        if not (trace := traceback_of(error)):
            raise
        path = folder() / ERROR_LOG
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        try:
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            with open(file, "a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(f"{now} {error}\n{trace}\n")
        except OSError as failure:
            raise EnvironmentFault(f"{error}; {path} cannot be written: {failure.strerror}") from error
        raise EnvironmentFault(f"{error}; traceback in {path}") from error
