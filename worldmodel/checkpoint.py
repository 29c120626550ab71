"""Checkpoints: atomic, complete, and declared by name."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from worldmodel.arrays import CorruptFile
from worldmodel.atomic_file import atomic_file, sync_folder
from worldmodel.replay import Replay

FORMAT = 1
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

    def save(self, step: int, about: Mapping[str, Any]) -> Path:
        """Write checkpoint `step` and remove those that are no longer kept. `about`: more to find in it."""
        self.archive.mkdir(parents=True, exist_ok=True)
        files = self.replay.archive(self.archive)
        temporary = self.folder / "incomplete"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            self.replay.write_latents(temporary / "latents.npz")
            state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
            state |= {"replay": self.replay.state_dict(), "files": files, "format": FORMAT, **about}
            save_state(temporary / "state.pt", state)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        target = self.folder / f"step-{step:012d}-{_count(self.folder):06d}"
        temporary.rename(target)
        sync_folder(self.folder)
        self._tidy()
        return target

    def save_best(self, state: Mapping[str, Any]) -> None:
        """Write the weights of the best evaluation so far."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_state(self.folder / "best.pt", {**state, "format": FORMAT})

    def load(self, path: Path) -> dict[str, Any]:
        """Restore every part and the replay from a checkpoint. Raises CorruptFile.

        Returns what the parts' `load_state_dict` returned, by name.
        """
        state = load_state(path / "state.pt")
        results = {name: part.load_state_dict(state[name]) for name, part in self.parts.items()}
        self.replay.load_state_dict(state["replay"])
        self.replay.restore(self.archive, path / "latents.npz")
        return results

    def _tidy(self) -> None:
        """Remove old checkpoints, and the files of the archive that none of the remaining ones needs."""
        kept = checkpoints(self.folder)[-self.keep :]
        for path in checkpoints(self.folder)[: -self.keep]:
            shutil.rmtree(path)
        needed = {name for path in kept for name in load_state(path / "state.pt", mmap=True)["files"]}
        for file in self.archive.iterdir():
            if file.name not in needed:
                file.unlink()


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if _NAME.fullmatch(path.name))


def _count(folder: Path) -> int:
    """The number of the next checkpoint: names are never used twice."""
    return max((int(match[1]) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))), default=-1) + 1


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and scalars atomically."""
    with atomic_file(path) as file:
        torch.save(dict(state), file)


def load_state(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Read tensors and scalars, without running pickled code. Raises CorruptFile."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        if state["format"] != FORMAT:
            raise ValueError(f"format {state['format']}, this program reads {FORMAT}")
        return state
    except Exception as error:  # torch.load raises whatever the damaged bytes lead to
        reason = " ".join(str(error).split())[:120]
        raise CorruptFile(
            f"{path}: cannot be read ({reason}); remove its folder to continue from the checkpoint before it"
        ) from error


def weights(path: Path) -> dict[str, Any]:
    """The agent's weights from a run's folder (its latest checkpoint), a checkpoint's folder, or a file of state.

    Raises CorruptFile when there are none.
    """
    found = checkpoints(path / "checkpoints")
    for file in (found[-1] / "state.pt" if found else path, path / "state.pt", path):
        if file.is_file():
            agent: dict[str, Any] = load_state(file)["agent"]
            return agent
    raise CorruptFile(
        f"{path}: holds no checkpoint; the folder of a run, one of its checkpoints or best.pt is accepted"
    )
