"""Checkpoints: atomic, complete, and declared by name."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import torch

from worldmodel.arrays import CorruptFile, read_arrays
from worldmodel.atomic_file import ReadError, WriteError, readable, sync_folder
from worldmodel.replay import Replay
from worldmodel.run_folder import RunFolderError
from worldmodel.saved_state import FORMAT, load_state, save_state

BEST = "best.pt"
_ARCHIVED = re.compile(r"stream\d+-\d{12,}-\d{12,}\.npz|\..*\.npz\.tmp")  # and what a killed process left of one
_NAME = re.compile(r"step-\d{12}(?:-(\d{6}))?")  # those of tuning once had no number


class Stateful(Protocol):
    """What a checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]:
        """Leaves are tensors or Python scalars."""
        ...

    def load_state_dict(self, state: Any) -> Any:
        """Continue from such a state."""
        ...


class Checkpoints:
    """The checkpoints of a run, in a folder.

    step-N-COUNT/ holds state.pt (every part under its name) and latents.npz; replay/ holds the archive of steps that
    they share; best.pt holds the weights of the best evaluation. A checkpoint appears whole, by a rename, or not at
    all.
    """

    def __init__(self, folder: Path, keep: int, parts: Mapping[str, Stateful], replay: Replay) -> None:
        self.folder, self.keep = folder, keep
        self.parts, self.replay = dict(parts), replay
        self.archive = folder / "replay"
        self._needed: dict[Path, list[str]] = {}  # of each checkpoint whose state was seen, its files of the archive

    def save(self, step: int, about: Mapping[str, Any]) -> Path:
        """Write checkpoint `step` and remove those that are no longer kept. `about`: more to find in it.

        Raises WriteError; the checkpoints from before are then still there.
        """
        try:
            return self._save(step, about)
        except OSError as error:
            raise WriteError(self.folder, error) from error

    def _save(self, step: int, about: Mapping[str, Any]) -> Path:
        self.archive.mkdir(parents=True, exist_ok=True)
        files = self.replay.archive(self.archive)

        def write(place: Path) -> None:
            self.replay.write_latents(place / "latents.npz")
            state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
            state |= {"replay": self.replay.state_dict(), "files": files, "format": FORMAT, "step": step, **about}
            save_state(place / "state.pt", state)

        target = publish(self.folder, step, write)
        self._needed[target] = files
        self._tidy()
        return target

    def move(self, folder: Path) -> None:
        """Save into another folder from now on. All that is not there is written anew."""
        self.folder, self.archive, self._needed = folder, folder / "replay", {}
        if not self.archive.exists():
            self.replay.forget_archive()

    def save_best(self, step: int, mean: float) -> None:
        """Write the agent's weights as those of the best evaluation so far: at `step`, with this mean return."""
        state = {"agent": self.parts["agent"].state_dict(), "step": step, "eval/return": mean, "format": FORMAT}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(self.folder, error) from error
        save_state(self.folder / BEST, state)

    def best(self) -> float:
        """The mean return of the best evaluation whose weights are kept, -inf where there is none.

        A damaged file is set aside, which is said: the next evaluation is the best again.
        """
        file = self.folder / BEST
        if not file.exists():
            return float("-inf")
        try:
            return float(load_state(file, mmap=True, sums=True)["eval/return"])
        except (CorruptFile, LookupError) as error:
            aside = file.with_name(f"damaged-{BEST}")
            file.replace(aside)
            print(f"{error}; it is {aside.name} now, and the weights of the next evaluation are kept as the best")
            return float("-inf")

    def load(self, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """Restore every part and the replay from a checkpoint. Raises CorruptFile, which says what can be done.

        Raises RunFolderError for an agent of another architecture: the configuration is the same, so the spaces differ.
        Returns what the parts' `load_state_dict` returned, by name, and the state itself.
        """
        try:
            return self._load(path)
        except CorruptFile as error:
            raise CorruptFile(f"{error}; {_advice(path, self.archive)}") from error

    def _load(self, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        state = load_state(path / "state.pt")
        with restoring(path):
            results = {name: part.load_state_dict(state[name]) for name, part in self.parts.items()}
            self.replay.load_state_dict(state["replay"])
            self.replay.restore(self.archive, path / "latents.npz")
            state["marks"] = {name: int(mark) for name, mark in dict(state["marks"]).items()}
        return results, state

    def _tidy(self) -> None:
        """Remove old checkpoints, and the files of the archive that none of the remaining ones needs."""
        kept = checkpoints(self.folder)[-self.keep :]
        for path in checkpoints(self.folder)[: -self.keep]:
            remove(path)
        try:
            self._needed = {path: self._needed.get(path) or _files(path) for path in kept}
        except (CorruptFile, ReadError):  # what an older checkpoint needs is not known: nothing is removed
            return
        needed = {name for names in self._needed.values() for name in names}
        for file in self.archive.iterdir():
            if file.name not in needed and _ARCHIVED.fullmatch(file.name):  # whatever else is there is none of ours
                file.unlink()


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """What restores the parts of a run from the state in a checkpoint's folder, which may be of something else.

    Raises CorruptFile, or RunFolderError where the weights are of another architecture.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        if hasattr(error, "exit_code"):
            raise
        if str(error).startswith("Error(s) in loading state_dict"):
            raise RunFolderError(
                f"logdir={path.parent.parent}: its agent is for other spaces than the environment has now "
                f"({_mismatch(error)}); give another logdir"
            ) from error
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise CorruptFile(f"{path}: is no checkpoint that this run can continue from ({reason})") from error


def _files(path: Path) -> list[str]:
    """The files of the archive that a checkpoint needs. Raises CorruptFile."""
    return list(load_state(path / "state.pt", mmap=True)["files"])


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in a folder, oldest first. Raises ReadError where it may not be read."""
    try:
        with readable(folder):
            names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(folder / name for name in names if _NAME.fullmatch(name))


def publish(folder: Path, step: int, write: Callable[[Path], None]) -> Path:
    """A new checkpoint in a folder, written by `write` into one that nobody takes for a checkpoint, then renamed."""
    temporary = folder / "incomplete"
    _clear(temporary)
    temporary.mkdir()
    try:
        write(temporary)
    except BaseException:
        with suppress(OSError):
            _clear(temporary)
        raise
    target = folder / f"step-{step:012d}-{_count(folder):06d}"
    temporary.rename(target)
    sync_folder(folder)
    return target


def remove(path: Path) -> None:
    """Remove a checkpoint, which is none from the first moment on."""
    temporary = path.parent / "incomplete"
    _clear(temporary)
    path.rename(temporary)
    _clear(temporary)


def _clear(path: Path) -> None:
    """Remove a folder with all in it, a file, or a link, which is not followed; or nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _advice(path: Path, archive: Path) -> str:
    """What can be done about a checkpoint with a damaged file: each checkpoint that is offered has been read."""
    found = checkpoints(path.parent)
    for place in reversed(range(found.index(path) if path in found else 0)):
        if _is_whole(found[place], archive):
            others = ", ".join(other.name for other in found[place + 1 :])
            return f"move {others} out of {path.parent}, and the run continues from {found[place].name}"
    try:
        load_state(path / "state.pt", mmap=True, sums=True)
    except (CorruptFile, ReadError):
        return "there is no other checkpoint to continue from; give another logdir"
    return f"no checkpoint can be continued from; init={path} with another logdir begins a run with its weights"


def _is_whole(path: Path, archive: Path) -> bool:
    """Whether all files of a checkpoint can be read."""
    try:
        files = load_state(path / "state.pt", mmap=True, sums=True)["files"]
        for file in (path / "latents.npz", *(archive / name for name in files)):
            for _ in read_arrays(file):
                pass
    except (CorruptFile, ReadError, LookupError, TypeError):
        return False
    return True


def _count(folder: Path) -> int:
    """The number of the next checkpoint: names are never used twice."""
    matches = (_NAME.fullmatch(name) for name in os.listdir(folder))
    return max((int(match[1] or 0) for match in matches if match), default=-1) + 1


def state_file(path: Path) -> Path:
    """The file with the weights in a run's folder (of its latest checkpoint), in a checkpoint's folder, or at `path`.

    Raises CorruptFile when there is none.
    """
    found = checkpoints(path / "checkpoints")
    for file in (found[-1] / "state.pt" if found else path, path / "state.pt", path):
        if file.is_file():
            return file
    raise CorruptFile(
        f"{path}: holds no checkpoint; the folder of a run, one of its checkpoints or best.pt is accepted"
    )


def load_weights(agent: torch.nn.Module, file: Path) -> int:
    """Give an agent the weights in a file; returns the step that they are from.

    Raises CorruptFile where the file is damaged or holds the weights of another architecture.
    """
    state = load_state(file)
    if not state.keys() >= {"agent", "step"}:
        raise CorruptFile(f"{file}: holds no agent")
    try:
        agent.load_state_dict(state["agent"])
    except RuntimeError as error:  # one line for each tensor that is missing, not wanted or of another shape
        raise CorruptFile(f"{file}: holds weights of another architecture ({_mismatch(error)})") from error
    return int(state["step"])


def _mismatch(error: Exception) -> str:
    """The first of the tensors that do not fit."""
    return " ".join(str(error).split("\n")[1:2]).strip()[:200]
