"""The storage of a search: its URL, and opening it."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybrid_opt.backends.redaction import redact
from hybrid_opt.paths import user_path
from worldmodel.cli.compose import UsageError
from worldmodel.search.study import enqueue_again

if TYPE_CHECKING:
    from worldmodel.search.patient_storage import PatientStorage

GRACE = 5  # heartbeats that may be missing
CONNECTING = 10  # seconds for a server of PostgreSQL to take a connection, where the URL says nothing of it


def storage_url(url: str, folder: Path) -> str:
    """The URL with its driver, or that of the SQLite file in the folder. Raises UsageError."""
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    if url == "auto":
        return URL.create("sqlite", database=str(folder / "study.db")).render_as_string()  # quoted
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # a port that is no number
        raise UsageError(
            f"storage={redact(url)}: a URL such as sqlite:///FILE or postgresql://USER@HOST/DATABASE is accepted"
        ) from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise UsageError(f"storage={url}: workers cannot share memory; sqlite:///FILE is accepted")
    if parsed.get_backend_name() == "sqlite" and str(parsed.database).startswith("~"):
        parsed = parsed.set(database=str(user_path(str(parsed.database), "storage")))
    return parsed.render_as_string(hide_password=False)


def shown(url: str) -> str:
    """A storage's URL without its password."""
    from sqlalchemy.engine import make_url

    return redact(make_url(url).render_as_string(hide_password=True))


def open_storage(url: str, heartbeat: int, unwanted: Callable[[], bool] | None = None) -> "PatientStorage":
    """Open the storage, with its tables made. Raises UsageError.

    unwanted: whether a worker was asked to stop. Workers wait for a server that is away, as it was there before.
    """
    from optuna.exceptions import ExperimentalWarning
    from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError

    from worldmodel.search.patient_storage import PatientStorage, never, patiently

    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        options["connect_args"] = {"timeout": 60}  # seconds that a writer waits for another
    elif url.startswith("postgresql") and "connect_timeout" not in url:
        options["connect_args"] = {"connect_timeout": CONNECTING}

    def opened() -> PatientStorage:
        return PatientStorage(
            url,
            options,
            unwanted=unwanted or never,
            heartbeat_interval=heartbeat,
            grace_period=GRACE * heartbeat,
            heartbeat_stale_trial_callback=enqueue_again,
        )

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return opened() if unwanted is None else patiently(opened, url, unwanted)
    except NoSuchModuleError:
        raise UsageError(f"storage={shown(url)}: no such database; sqlite, postgresql or mysql is accepted") from None
    except ImportError as error:
        driver = f"{error.__cause__ or error}".partition("'")[2].partition("'")[0] or "its driver"
        extra = ': pip install "worldmodel[postgresql]"' if url.startswith("postgresql") else ""
        raise UsageError(f"storage={shown(url)}: needs {driver}{extra}") from None
    except ArgumentError as error:
        raise UsageError(f"storage={shown(url)}: {redact(' '.join(str(error).split()))}") from None
    except (OperationalError, DatabaseError) as error:
        reason = redact(" ".join(str(error.orig or error).split()))
        raise UsageError(f"storage={shown(url)}: cannot be opened: {reason}") from None
    except RuntimeError as error:  # tables of another version of Optuna
        raise UsageError(f"storage={shown(url)}: {' '.join(str(error).split())}") from None
