"""Checkpoints: atomic, complete, and declared by name."""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from worldmodel.arrays import CorruptFile
from worldmodel.atomic_file import WriteError, sync_folder
from worldmodel.replay import Replay
from worldmodel.saved_state import FORMAT, load_state, save_state

BEST = "best.pt"
_NAME = re.compile(r"step-\d{12}-(\d{6})")


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
        temporary = self.folder / "incomplete"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            self.replay.write_latents(temporary / "latents.npz")
            state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
            state |= {"replay": self.replay.state_dict(), "files": files, "format": FORMAT, "step": step, **about}
            save_state(temporary / "state.pt", state)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        target = self.folder / f"step-{step:012d}-{_count(self.folder):06d}"
        temporary.rename(target)
        self._needed[target] = files
        sync_folder(self.folder)
        self._tidy()
        return target

    def save_best(self, step: int, mean: float) -> None:
        """Write the agent's weights as those of the best evaluation so far: at `step`, with this mean return."""
        state = {"agent": self.parts["agent"].state_dict(), "step": step, "eval/return": mean, "format": FORMAT}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(self.folder, error) from error
        save_state(self.folder / BEST, state)

    def best(self) -> float:
        """The mean return of the best evaluation whose weights are kept, -inf where there is none."""
        file = self.folder / BEST
        return float(load_state(file, mmap=True)["eval/return"]) if file.exists() else float("-inf")

    def load(self, path: Path) -> dict[str, Any]:
        """Restore every part and the replay from a checkpoint. Raises CorruptFile.

        Returns what the parts' `load_state_dict` returned, by name.
        """
        with _advised(path):
            state = load_state(path / "state.pt")
            results = {name: part.load_state_dict(state[name]) for name, part in self.parts.items()}
            self.replay.load_state_dict(state["replay"])
            self.replay.restore(self.archive, path / "latents.npz")
        return results

    def _tidy(self) -> None:
        """Remove old checkpoints, and the files of the archive that none of the remaining ones needs."""
        kept = checkpoints(self.folder)[-self.keep :]
        for path in checkpoints(self.folder)[: -self.keep]:
            path.rename(self.folder / "incomplete")  # a name that no reader takes for a checkpoint
            shutil.rmtree(self.folder / "incomplete")
        try:
            self._needed = {path: self._needed.get(path) or _files(path) for path in kept}
        except CorruptFile:  # what an older checkpoint needs is not known: nothing is removed
            return
        needed = {name for names in self._needed.values() for name in names}
        for file in self.archive.iterdir():
            if file.name not in needed:
                file.unlink()


def _files(path: Path) -> list[str]:
    """The files of the archive that a checkpoint needs. Raises CorruptFile."""
    return list(load_state(path / "state.pt", mmap=True)["files"])


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if _NAME.fullmatch(path.name))


def marks(path: Path) -> dict[str, int]:
    """The sizes that the metrics and event files had at a checkpoint. Raises CorruptFile."""
    with _advised(path):
        sizes: dict[str, int] = load_state(path / "state.pt", mmap=True)["marks"]
        return sizes


@contextmanager
def _advised(path: Path) -> Iterator[None]:
    """What to do about a damaged file of a checkpoint, added to the error."""
    try:
        yield
    except CorruptFile as error:
        raise CorruptFile(f"{error}; without {path} the run continues from the checkpoint before it") from error


def _count(folder: Path) -> int:
    """The number of the next checkpoint: names are never used twice."""
    return max((int(match[1]) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))), default=-1) + 1


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
        reason = " ".join(str(error).split("\n")[1:2]).strip()[:200]
        raise CorruptFile(f"{file}: holds weights of another architecture ({reason})") from error
    return int(state["step"])
