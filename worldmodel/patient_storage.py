"""The storage of a search, which waits for a database server that restarts."""

import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from hybrid_opt.backends.redaction import redact

PATIENCE = 600.0  # seconds without an answer after which a search gives up
PAUSES = (0.2, 10.0)  # seconds between two tries: the first, and the longest


class StorageError(Exception):
    """The storage of a search that runs cannot be used. The message is one line."""

    exit_code = 1


def waiting(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of the storage that is called again until the database answers."""

    @wraps(method)
    def call(self: "PatientStorage", *args: Any, **kwargs: Any) -> Any:
        begin, pause, said = time.monotonic(), PAUSES[0], False
        while True:
            try:
                result = method(self, *args, **kwargs)
            except UpdateFinishedTrialError:
                if said:  # the try whose answer was lost had come through
                    return True
                raise
            except (SQLAlchemyError, StorageInternalError) as error:
                reason, patience = _reason(error), PATIENCE if _lost(error) and not self.url.startswith("sqlite") else 0
                if time.monotonic() - begin >= patience:
                    message = f"storage={_shown(self.url)}: {reason}; the same command continues the search"
                    raise StorageError(message) from error
                if not said:
                    print(f"storage={_shown(self.url)}: {reason}; waiting for it to come back", file=sys.stderr)
                said = True
                time.sleep(pause)
                pause = min(2 * pause, PAUSES[1])
            else:
                if said:
                    print(f"storage={_shown(self.url)}: it is back; the search goes on", file=sys.stderr)
                return result

    return call


_METHODS = sorted(
    {name for name, value in vars(BaseStorage).items() if not name.startswith("_") and callable(value)}
    | {"record_heartbeat", "_get_stale_trial_ids"}
    | {"_create_new_trial", "_set_trial_param", "_get_trials", "_get_best_trial_id"}  # which Optuna's cache calls
)


class PatientStorage(RDBStorage):
    """An RDBStorage whose every operation is tried again while a database server cannot be reached.

    After `PATIENCE` seconds, and at once where the database answers with an error, raises StorageError in one line.
    Files of SQLite are not waited for.
    """

    for _name in _METHODS:
        vars()[_name] = waiting(getattr(RDBStorage, _name))
    del _name


def _lost(error: BaseException) -> bool:
    """Whether the connection was lost or never made, rather than refused by the database."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if not isinstance(cause, DBAPIError):
        return False
    text = str(cause.orig).lower()
    signs = ("connect", "server closed", "terminating", "shutting down", "starting up", "recovery mode", "gone away")
    return bool(cause.connection_invalidated) or any(sign in text for sign in signs)


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    return redact(" ".join(str(getattr(cause, "orig", None) or cause).split()))[:300]


def _shown(url: str) -> str:
    return redact(make_url(url).render_as_string(hide_password=True))
