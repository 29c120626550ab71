"""The folder of a run: one process at a time owns it, config.yaml says whose it is, continuing cuts its files back."""

import errno
import fcntl
import json
import os
import re
import shutil
import socket
import weakref
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from hybrid_opt.paths import user_path
from worldmodel.runs.atomic_file import WriteError, atomic_file, readable
from worldmodel.runs.former_ids import with_current_ids
from worldmodel.runs.later_keys import ADDED, DRAWN, REMOVED
from worldmodel.runs.parts import completed
from worldmodel.runs.provenance import provenance
from worldmodel.runs.yaml import read_yaml, to_yaml

METRICS = "metrics.jsonl"
EVENTS = "events.out.tfevents.*"
EVALUATION = "evaluation.json"
CHECKPOINTS = "checkpoints"
RESULTS = (METRICS, EVENTS, EVALUATION, CHECKPOINTS, "policy.npz", "model.zip")  # of a run: they cannot be made again
_OWN = (*RESULTS, "replay", "trials", "workers", "best.yaml")  # what commands write over
_OUR_EVENTS = re.compile(r"events\.out\.tfevents\.\d{17}\..*")  # others write the time in seconds
ABOUT = frozenset({"versions", "commit", "hardware"})  # what config.yaml says beside the configuration


class RunFolderError(Exception):
    """The run folder that the user gave cannot be used. The message is one line."""

    exit_code = 2


class FolderMoved(Exception):
    """The run folder was moved or removed while the run used it; the run has been saved, and ends."""

    exit_code = 1

    def __init__(self, before: Path, now: Path, step: int) -> None:
        where = f"was moved to {now}" if now != before else "was removed"
        super().__init__(
            f"logdir={before}: {where} while the run used it; saved at step {step}; logdir={now} continues it"
        )


class RunFolder:
    """A run's folder, created where it is missing and owned until `close` or the end of the process, however it ends.

    Raises RunFolderError when another process owns it, or when it cannot be created or written.
    """

    def __init__(self, path: str | Path) -> None:
        if not str(path).strip():
            raise RunFolderError("logdir=: is empty; the path of a folder, or auto, is accepted")
        self.path = user_path(path, "logdir").absolute()
        self._lock: int | None = None
        self._begun = False
        self._sums: dict[str, tuple[int, int]] = {}  # of growing files: how far they were summed, and their CRC-32
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
            try:
                lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.EISDIR):
                    raise RunFolderError(f"logdir={self.path}: {_NO_LOCK}") from None
                raise
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not _is_open_at(path, lock):  # its last owner removed it meanwhile
                    os.close(lock)
                    continue
                if not _is_lock(os.pread(lock, 1000, 0)):
                    raise RunFolderError(f"logdir={self.path}: {_NO_LOCK}")
                since = datetime.now().astimezone().isoformat(timespec="seconds")
                os.ftruncate(lock, 0)
                os.write(lock, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode())
            except BlockingIOError:
                owner = _owner(os.read(lock, 1000))
                os.close(lock)
                raise RunFolderError(f"logdir={self.path}: in use by {owner}; stop it or give another logdir") from None
            except (OSError, RunFolderError):
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
        if self._begun and not (self.path / METRICS).exists():  # it failed before it measured anything
            shutil.rmtree(self.path / "replay", ignore_errors=True)
            (self.path / "config.yaml").unlink(missing_ok=True)
        if _is_open_at(self.path / "lock", self._lock):
            (self.path / "lock").unlink()
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

    def follow(self) -> bool:
        """Whether the folder has been moved or removed since it was opened; `path` is then where it is now.

        One that was removed is made anew at its place, and holds nothing. Raises RunFolderError where that is taken.
        """
        if self._lock is None or _is_open_at(self.path / "lock", self._lock):
            return False
        try:
            there = Path(os.readlink(f"/proc/self/fd/{self._lock}"))
        except OSError:  # another system
            there = self.path / "lock"
        if _is_open_at(there, self._lock):
            self.path = there.parent
            return True
        if self.path.exists():
            raise RunFolderError(f"logdir={self.path}: was replaced while the run used it; nothing is saved")
        self._forget()
        self.path.mkdir(parents=True)
        self._lock = self._locked()
        return True

    def config(self) -> dict[str, Any] | None:
        """The configuration of the run that is in the folder, None where there is none. Raises RunFolderError."""
        return read_config(self.path) if (self.path / "config.yaml").exists() else None

    def compare(self, config: Mapping[str, Any], may_change: Collection[str]) -> None:
        """Refuse a folder that is not known as a run's, and a configuration that differs from that of the run in it.

        `may_change` names keys, or whole sections, that may differ. Raises RunFolderError with the keys that differ.
        Nothing in the folder is changed before this has been asked.
        """
        for path in self._growing():
            if path.is_symlink():
                raise RunFolderError(f"logdir={self.path}: its {path.name} is a link, which is not followed; remove it")
        previous = self.config()
        if previous is None:
            self.refuse_foreign(_OWN)
            return
        if differing := differences(previous, config, may_change):
            raise RunFolderError(
                f"logdir={self.path}: holds a run of another configuration: {'; '.join(differing)}; "
                "give the same or another logdir"
            )

    def refuse_foreign(self, names: Collection[str], witness: str = "config.yaml") -> None:
        """Raise RunFolderError where files of these names are there: without the witness they are not known as ours."""
        found = sorted(path.name for name in names for path in self.path.glob(name))
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise RunFolderError(
                f"logdir={self.path}: holds {', '.join(found[:3])}{more}, and no {witness} that says whose they are; "
                "give another logdir, or move them away"
            )

    def begin(self, config: Mapping[str, Any]) -> Path | None:
        """Begin a new run, before its first file: write config.yaml, and set aside the results that are there.

        They are from a run that left no checkpoint. Returns the folder that they are in now, None where there are none.
        Raises WriteError.
        """
        aside = None
        try:
            if found := sorted(path for name in RESULTS for path in self.path.glob(name)):
                numbers = (self.path / f"aside-{number}" for number in range(1, 1 << 20))
                aside = next(folder for folder in numbers if not folder.exists())
                aside.mkdir()
                for path in found:
                    path.rename(aside / path.name)
        except OSError as error:
            raise WriteError(self.path, error) from error
        self._begun = not (self.path / "config.yaml").exists()
        self.write_config(config)
        return aside

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write config.yaml: the configuration, then versions, commit and hardware. Raises WriteError."""
        if taken := ABOUT & config.keys():
            raise ValueError(f"a configuration may not have keys named {', '.join(sorted(taken))}")
        text = to_yaml({**_plain(config), **provenance()})
        with atomic_file(self.path / "config.yaml") as file:
            file.write(text.encode())

    def marks(self) -> dict[str, int]:
        """The sizes, in bytes, of the metrics and event files now. Flush their writer first."""
        return {path.name: path.stat().st_size for path in self._growing()}

    def sums(self) -> dict[str, int]:
        """The CRC-32 of the metrics and event files up to their marks; only what is new since the last call is read."""
        return {path.name: self._sum(path, path.stat().st_size) for path in self._growing()}

    def _sum(self, path: Path, size: int) -> int:
        done, crc = self._sums.get(path.name, (0, 0))
        if done > size:
            done, crc = 0, 0
        with readable(path), path.open("rb") as file:
            file.seek(done)
            while done < size and (block := file.read(min(1 << 20, size - done))):
                done, crc = done + len(block), zlib.crc32(block, crc)
        self._sums[path.name] = done, crc
        return crc

    def cut_back(self, marks: Mapping[str, int], sums: Mapping[str, int] | None = None) -> list[str]:
        """Cut the metrics and event files to what they were when the marks were taken, before their writer opens them.

        Those without a mark, which were begun later, are removed. Returns the names of those that are not what they
        were: they hold less than was marked, or something else. Of a row of metrics that is there in part, that is cut.

        Raises RunFolderError or ReadError before anything is changed, where one is no file or may not be read or
        written.
        """
        for path in self._growing():
            if not path.is_file():
                raise RunFolderError(f"logdir={self.path}: its {path.name} is no file; move it away")
            with readable(path), path.open("rb"):
                pass
            if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                raise RunFolderError(f"logdir={self.path}: its {path.name} may not be written; change its permissions")
        for path in self._growing():
            try:
                if path.name not in marks:
                    path.unlink()
                elif path.stat().st_size > marks[path.name]:
                    os.truncate(path, marks[path.name])
                if path.name == METRICS and path.exists():
                    _end_row(path)
            except OSError as error:
                raise WriteError(path, error) from error
        sizes, sums = self.marks(), sums or {}
        return [
            name
            for name, size in marks.items()
            if sizes.get(name, 0) < size or sums.get(name) not in (None, self._sum(self.path / name, size))
        ]

    def _growing(self) -> list[Path]:
        events = (path for path in self.path.glob(EVENTS) if _OUR_EVENTS.fullmatch(path.name))
        return sorted([*self.path.glob(METRICS), *events])


def _end_row(path: Path) -> None:
    """See to it that the next row begins a line: end the last one, or cut it where it is no whole row."""
    rows = path.read_bytes()
    last = rows[rows.rfind(b"\n") + 1 :]
    if not last:
        return
    try:
        json.loads(last)
    except (ValueError, RecursionError):
        os.truncate(path, len(rows) - len(last))
    else:
        with path.open("ab") as file:
            file.write(b"\n")


def read_config(path: str | Path) -> dict[str, Any]:
    """The configuration of the run in a folder, without versions, commit and hardware. Raises RunFolderError."""
    file = user_path(path, "logdir") / "config.yaml"
    try:
        values = read_yaml(file.read_text(encoding="utf-8"))
        json.dumps(values)  # a date, or a key that is no text, is none of ours
    except FileNotFoundError:
        raise RunFolderError(f"logdir={path}: holds no run: it has no config.yaml") from None
    except OSError as error:
        raise RunFolderError(f"logdir={path}: its config.yaml cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, TypeError):  # ValueError: no UTF-8, or a number of thousands of digits
        values = None
    if not isinstance(values, dict) or not values.keys() >= ABOUT:
        raise RunFolderError(f"logdir={path}: its config.yaml is damaged, or not a run's; give another logdir")
    kept = {key: _without_removed(value) for key, value in values.items() if key not in ABOUT}
    current: dict[str, Any] = with_current_ids(kept)
    return current


def _without_removed(value: Any) -> Any:
    """The value without removed keys that say what is done still; others are left for the schema to refuse."""
    if not isinstance(value, dict):
        return value
    kept = {key: inner for key, inner in value.items() if key not in REMOVED or inner != REMOVED[key]}
    return {key: _without_removed(inner) for key, inner in kept.items()}


def differences(before: Mapping[str, Any], now: Mapping[str, Any], may_change: Collection[str]) -> list[str]:
    """What differs between two configurations, a phrase for each key, apart from keys and sections that may."""
    before, now = (dict(_flat(completed(with_current_ids(_plain(values))))) for values in (before, now))
    return [
        f"{key} was {_text(_value(before, key))}, is {_text(_value(now, key))}"
        for key in dict.fromkeys([*now, *before])
        if not _same(_value(before, key), _value(now, key))
        and not _is_within(key, may_change)
        and not ((key not in before or key not in now) and f".{key}".endswith(tuple(f".{name}" for name in DRAWN)))
    ]


def _value(values: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key; for one that earlier versions did not have, or only they had, what was or is done."""
    if key in values:
        return values[key]
    implied = ADDED | REMOVED
    return next((value for name, value in implied.items() if f".{key}".endswith(f".{name}")), _ABSENT)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) or repr(one) == repr(other)  # NaN is the same as NaN here


def _is_open_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


_NO_LOCK = "its lock is not a run's; give another logdir"


def _is_lock(content: bytes) -> bool:
    """Whether it is what a run writes into its lock, or nothing: its owner was killed before."""
    return not content.strip(b"\0") or _owner(content) != "another process"


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
