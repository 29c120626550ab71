"""The folder of a run: one process at a time owns it, config.yaml says what it is, continuing cuts its files back."""

import errno
import fcntl
import json
import os
import socket
import weakref
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from worldmodel.atomic_file import WriteError, atomic_file
from worldmodel.plain_yaml import read_yaml, to_yaml
from worldmodel.provenance import provenance

METRICS = "metrics.jsonl"
EVENTS = "events.out.tfevents.*"
ADDED = {"size.fan_in": "block"}  # keys that earlier versions did not have, and what they did
_ABOUT = ("versions", "commit", "hardware")  # what config.yaml says beside the configuration


class RunFolderError(Exception):
    """The run folder that the user gave cannot be used. The message is one line."""

    exit_code = 2


class RunFolder:
    """A run's folder, created where it is missing and owned until `close` or the end of the process, however it ends.

    Raises RunFolderError when another process owns it, or when it cannot be created or written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        self._lock: int | None = None
        try:
            self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
        except FileExistsError:
            raise RunFolderError(f"logdir={path}: is a file; a folder is accepted") from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise WriteError(self.path, error) from error
            raise RunFolderError(f"logdir={path}: cannot be used: {error.strerror}") from None
        forget = weakref.WeakMethod(self._forget)  # a forked worker that outlives this process must not keep the lock
        os.register_at_fork(after_in_child=lambda: (method := forget()) and method())

    def _locked(self) -> int:
        path = self.path / "lock"
        while True:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not _is_open_at(path, lock):  # its last owner removed it meanwhile
                    os.close(lock)
                    continue
                since = datetime.now().astimezone().isoformat(timespec="seconds")
                os.ftruncate(lock, 0)
                os.write(lock, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode())
            except BlockingIOError:
                owner = _owner(os.read(lock, 1000))
                os.close(lock)
                raise RunFolderError(f"logdir={self.path}: in use by {owner}; stop it or give another logdir") from None
            except OSError:
                os.close(lock)
                raise
            return lock

    def _forget(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def close(self) -> None:
        """Give the folder up; what was created of it and holds nothing is removed."""
        if self._lock is None:
            return
        (self.path / "lock").unlink(missing_ok=True)
        self._forget()
        with suppress(OSError):  # something is in one of them
            for folder in self._made:
                folder.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def config(self) -> dict[str, Any] | None:
        """The configuration of the run that is in the folder, None where there is none. Raises RunFolderError."""
        return read_config(self.path) if (self.path / "config.yaml").exists() else None

    def compare(self, config: Mapping[str, Any], may_change: Collection[str]) -> None:
        """Refuse a configuration that differs from that of the run in the folder.

        `may_change` names keys, or whole sections, that may differ. Raises RunFolderError with the keys that differ.
        """
        previous = self.config()
        if previous is None:
            return
        if differing := differences(previous, config, may_change):
            raise RunFolderError(
                f"logdir={self.path}: holds a run of another configuration: {'; '.join(differing)}; "
                "give the same or another logdir"
            )

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write config.yaml: the configuration, then versions, commit and hardware. Raises WriteError."""
        if taken := set(_ABOUT) & config.keys():
            raise ValueError(f"a configuration may not have keys named {', '.join(sorted(taken))}")
        text = to_yaml({**_plain(config), **provenance()})
        with atomic_file(self.path / "config.yaml") as file:
            file.write(text.encode())

    def marks(self) -> dict[str, int]:
        """The sizes, in bytes, of the metrics and event files now. Flush their writer first."""
        return {path.name: path.stat().st_size for path in self._growing()}

    def cut_back(self, marks: Mapping[str, int]) -> list[str]:
        """Cut the metrics and event files to what they were when the marks were taken, before their writer opens them.

        Files without a mark are removed. Returns the names of those that hold less than was marked: damaged since.
        """
        for path in self._growing():
            try:
                if path.name not in marks:
                    path.unlink()
                elif path.stat().st_size > marks[path.name]:
                    os.truncate(path, marks[path.name])
            except OSError as error:
                raise WriteError(path, error) from error
        sizes = self.marks()
        return [name for name, size in marks.items() if sizes.get(name, 0) < size]

    def _growing(self) -> list[Path]:
        return sorted([*self.path.glob(METRICS), *self.path.glob(EVENTS)])


def read_config(path: str | Path) -> dict[str, Any]:
    """The configuration of the run in a folder, without versions, commit and hardware. Raises RunFolderError."""
    file = Path(path).expanduser() / "config.yaml"
    try:
        values = read_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunFolderError(f"logdir={path}: holds no run: it has no config.yaml") from None
    except OSError as error:
        raise RunFolderError(f"logdir={path}: its config.yaml cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        values = None
    if not isinstance(values, dict) or not values.keys() >= set(_ABOUT):
        raise RunFolderError(f"logdir={path}: its config.yaml is damaged, or not a run's; give another logdir")
    return {key: value for key, value in values.items() if key not in _ABOUT}


def differences(before: Mapping[str, Any], now: Mapping[str, Any], may_change: Collection[str]) -> list[str]:
    """What differs between two configurations, a phrase for each key, apart from keys and sections that may."""
    before, now = dict(_flat(_plain(before))), dict(_flat(_plain(now)))
    return [
        f"{key} was {_text(_value(before, key))}, is {_text(_value(now, key))}"
        for key in dict.fromkeys([*now, *before])
        if not _same(_value(before, key), _value(now, key)) and not _is_within(key, may_change)
    ]


def _value(values: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key; for one that earlier versions did not have, what they did."""
    return values.get(key, next((value for name, value in ADDED.items() if f".{key}".endswith(f".{name}")), _ABSENT))


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) or repr(one) == repr(other)  # NaN is the same as NaN here


def _is_open_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _owner(lock: bytes) -> str:
    try:
        owner = json.loads(lock)
        return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (ValueError, TypeError, KeyError):  # it has only just taken the lock
        return "another process"


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as YAML gives it back: tuples are lists, paths are text."""
    plain: dict[str, Any] = json.loads(json.dumps(config, default=str))
    return plain


_ABSENT = object()


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    return "absent" if value is _ABSENT else value if isinstance(value, str) else json.dumps(value)


def _is_within(key: str, names: Collection[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)
