"""Checkpoints, against the faults that they are for: a full disk, a kill at any moment, damaged and hostile files."""

import os
import pickle
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from quantum_sampler import make_selector
from tests.worldmodel.replay.test_buffer import Filled, make
from tests.worldmodel.replay.test_buffer import step as content
from tests.worldmodel.train.runs import full_disk
from worldmodel.replay.buffer import Replay
from worldmodel.runs.array_file import CorruptFile
from worldmodel.runs.atomic_file import WriteError
from worldmodel.runs.checkpoint import Checkpoints, checkpoints, load_weights, state_file
from worldmodel.runs.folder import RunFolderError
from worldmodel.runs.saved_state import load_state, save_state


class Part:
    """Something with a state of some size, all of it the same number."""

    def __init__(self, value: int = 0, size: int = 1000) -> None:
        self.value, self.size = value, size

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "tensor": torch.full((self.size,), self.value), "text": "x", "list": [1.5, None]}

    def load_state_dict(self, state: dict[str, Any]) -> list[int]:
        assert (state["tensor"] == state["value"]).all() and len(state["tensor"]) == self.size
        self.value = state["value"]
        return [self.value]


class Saved:
    """Two parts and a replay of two streams of 20 steps; the parts count the steps of the replay."""

    def __init__(self, folder: Path, keep: int = 2, size: int = 1000) -> None:
        selector = make_selector("uniform", Replay.item_capacity(20, 2, 1), 1)
        self.filled: Filled = make(2, 20, window=3, selector=selector)
        self.parts = {"agent": Part(0, size), "other": Part()}
        self.checkpoints = Checkpoints(folder, keep, self.parts, self.filled.replay)

    def advance(self, steps: int = 1) -> None:
        for _ in range(steps):
            self.filled.add([0, 1])
            for part in self.parts.values():
                part.value += 1

    def save(self) -> Path:
        return self.checkpoints.save(self.parts["agent"].value, {"marks": {"metrics.jsonl": 7}})

    def check(self, step: int) -> None:
        """All is as it was at that step."""
        assert [part.value for part in self.parts.values()] == [step, step]
        assert len(self.filled.replay) == 2 * min(step, 20)
        if step >= 3:
            newest = self.filled.replay.latest(2).fields["observation/number"]
            assert newest[-1, 0] == step - 1
            self.filled.steps = [[content(stream, place) for place in range(step)] for stream in range(2)]
            self.filled.check(self.filled.replay.sample(20))


def loaded(folder: Path, **options: int) -> Saved:
    """What the latest checkpoint in a folder holds."""
    again = Saved(folder, **options)
    found = checkpoints(folder)[-1]
    assert again.checkpoints.load(found)[0] == {name: [part.value] for name, part in again.parts.items()}
    again.check(int(found.name.split("-")[1]))
    return again


def test_everything_comes_back(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "c")
    saved.advance(27)
    path = saved.save()
    state = load_state(path / "state.pt")
    assert state["marks"] == {"metrics.jsonl": 7} and state["step"] == 27
    saved.filled.replay.sample(5)
    again = loaded(tmp_path / "c")
    assert again.filled.stored_latents() == saved.filled.stored_latents()


def test_an_agent_for_other_spaces(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "c")
    saved.checkpoints.parts["agent"] = nn.Linear(3, 2)
    path = saved.checkpoints.save(0, {})
    saved.checkpoints.parts["agent"] = nn.Linear(4, 2)
    with pytest.raises(RunFolderError, match=r"its agent is for other spaces .* \(size mismatch for weight: .*\)"):
        saved.checkpoints.load(path)


def test_the_next_draws_are_those_that_would_have_come(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "c")
    saved.advance(27)
    path = saved.save()
    expected = [saved.filled.replay.sample(5).start.tolist() for _ in range(3)]
    again = Saved(tmp_path / "c")
    again.checkpoints.load(path)
    assert [again.filled.replay.sample(5).start.tolist() for _ in range(3)] == expected


def test_old_ones_and_unused_files_are_removed(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "c", keep=2)
    names = []
    for _ in range(6):
        saved.advance(7)
        names.append(saved.save().name)
        assert [path.name for path in checkpoints(tmp_path / "c")] == names[-2:]
    needed = {name for path in checkpoints(tmp_path / "c") for name in load_state(path / "state.pt")["files"]}
    assert {path.name for path in (tmp_path / "c" / "replay").iterdir()} == needed
    first = [max(0, int(name.split("-")[1])) for name in needed if name.startswith("stream0")]
    assert min(first) == 14  # the older one of the two was saved at step 35, the piece from 14 on at step 21
    assert {path.name for path in (tmp_path / "c").iterdir()} == {*names[-2:], "replay"}
    loaded(tmp_path / "c")


def test_files_that_an_older_checkpoint_of_another_process_needs_are_kept(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "c", keep=2)
    saved.advance(15)
    older = saved.save()
    again = loaded(tmp_path / "c", keep=2)
    again.advance(25)  # over all that the older one holds
    again.save()
    oldest = Saved(tmp_path / "c")
    oldest.checkpoints.load(older)
    oldest.check(15)


def test_names_are_never_used_twice(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "c", keep=1)
    saved.advance(5)
    first = saved.save()
    assert saved.save() != first  # at the same step
    assert len(checkpoints(tmp_path / "c")) == 1


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "c")
    saved.advance(5)
    saved.save()
    (tmp_path / "c" / "incomplete").mkdir()
    (tmp_path / "c" / "incomplete" / "state.pt").write_bytes(b"half")
    (tmp_path / "c" / "replay" / ".stream0-x.npz.tmp").write_bytes(b"half")
    (tmp_path / "c" / "replay" / "stream0-000000000005-000000000009.npz").write_bytes(b"of a lost future")
    again = loaded(tmp_path / "c")
    again.advance(4)
    again.save()
    assert not (tmp_path / "c" / "incomplete").exists()
    assert not list((tmp_path / "c" / "replay").glob(".*"))
    loaded(tmp_path / "c")


def test_what_others_put_there_neither_hinders_nor_goes(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "c", keep=1)
    saved.advance(9)
    saved.save()
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "c/incomplete").symlink_to(tmp_path / "precious")
    (tmp_path / "c/replay/notes.txt").write_text("mine")
    (tmp_path / "c/replay/mine").mkdir()
    (tmp_path / "c/step-000000000001-000000").write_text("a file")
    saved.advance(25)
    saved.save()
    assert (tmp_path / "precious").read_text() == "precious" and (tmp_path / "c/replay/mine").is_dir()
    assert (tmp_path / "c/replay/notes.txt").read_text() == "mine" and len(checkpoints(tmp_path / "c")) == 1
    loaded(tmp_path / "c").check(34)


@pytest.mark.parametrize("limit", [0, 100, 2_000, 4_500, 20_000, 39_000])
def test_a_full_disk_leaves_the_former_one(tmp_path: Path, limit: int) -> None:
    """Files that may not grow beyond `limit` bytes: each kind of file fails in turn."""
    saved = Saved(tmp_path / "c", size=10_000)
    saved.advance(5)
    saved.save()
    before = sorted(path.name for path in (tmp_path / "c").rglob("*"))
    saved.advance(20)
    with full_disk(limit):
        with pytest.raises(WriteError) as caught:
            saved.save()
        with pytest.raises(WriteError):
            saved.checkpoints.save_best(5, 1.0)
    assert caught.value.exit_code == 1 and "\n" not in str(caught.value)
    left = sorted(path.name for path in (tmp_path / "c").rglob("*"))
    assert [name for name in left if not name.startswith("stream")] == [n for n in before if not n.startswith("stream")]
    loaded(tmp_path / "c", size=10_000)
    saved.save()  # once there is space again
    assert loaded(tmp_path / "c", size=10_000).parts["agent"].value == 25


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """A process that saves all the time is killed, again and again: the latest checkpoint is always whole."""
    moments = random.Random(0)
    reached = 0
    for _ in range(6):
        if child := os.fork():
            before, patience = checkpoints(tmp_path / "c"), time.monotonic() + 30
            while checkpoints(tmp_path / "c") == before and time.monotonic() < patience:
                time.sleep(0.01)
            time.sleep(0.2 * moments.random())
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        else:  # no pytest beyond this line
            try:
                found = checkpoints(tmp_path / "c")
                saved = loaded(tmp_path / "c", size=100_000) if found else Saved(tmp_path / "c", size=100_000)
                while True:
                    saved.advance(3)
                    saved.save()
            finally:
                os._exit(1)
        step = loaded(tmp_path / "c", size=100_000).parts["agent"].value
        assert step > reached
        reached = step


def one_line(error: BaseException, path: Path) -> None:
    assert "\n" not in str(error) and str(path) in str(error) and getattr(error, "exit_code", None) == 2


@pytest.mark.parametrize("file", ["state.pt", "latents.npz", "archive"])
@pytest.mark.parametrize("how", ["truncated", "empty", "missing", "other"])
def test_damaged_files(tmp_path: Path, file: str, how: str) -> None:
    saved = Saved(tmp_path / "c")
    saved.advance(9)
    path = saved.save()
    damaged = next((tmp_path / "c" / "replay").iterdir()) if file == "archive" else path / file
    data = damaged.read_bytes()
    if how == "missing":
        damaged.unlink()
    else:
        damaged.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "other": b"#!/bin/sh\nexit 0\n"}[how])
    with pytest.raises(CorruptFile) as caught:
        Saved(tmp_path / "c").checkpoints.load(path)
    one_line(caught.value, damaged)


def test_a_state_of_something_else_is_no_checkpoint(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "c")
    saved.advance(9)
    first = saved.save()
    saved.advance()
    path = saved.save()
    state = load_state(path / "state.pt")
    unmarked = {name: value for name, value in state.items() if name != "marks"}
    bare = {"agent": state["agent"], "step": 10, "format": 1}
    for other in (bare, {**state, "replay": {}}, {**state, "agent": {}}, unmarked, {**state, "marks": {"a": "b"}}):
        save_state(path / "state.pt", other)
        with pytest.raises(CorruptFile, match=f"is no checkpoint that .*the run continues from {first.name}") as caught:
            Saved(tmp_path / "c").checkpoints.load(path)
        one_line(caught.value, path)


def test_every_truncation_of_the_state_is_noticed(tmp_path: Path) -> None:
    save_state(tmp_path / "state.pt", {"format": 1, "tensor": torch.arange(50)})
    data = (tmp_path / "state.pt").read_bytes()
    for length in range(0, len(data), 23):
        (tmp_path / "state.pt").write_bytes(data[:length])
        for mmap in (False, True):
            with pytest.raises(CorruptFile) as caught:
                load_state(tmp_path / "state.pt", mmap)
            one_line(caught.value, tmp_path / "state.pt")


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("writer", ["torch", "legacy", "pickle"])
def test_pickled_code_is_refused(tmp_path: Path, writer: str) -> None:
    content = {"format": 1, "agent": Payload(tmp_path / "ran")}
    if writer == "pickle":
        (tmp_path / "state.pt").write_bytes(pickle.dumps(content))
    else:
        torch.save(content, tmp_path / "state.pt", _use_new_zipfile_serialization=writer == "torch")
    for mmap in (False, True):
        with pytest.raises(CorruptFile) as caught:
            load_state(tmp_path / "state.pt", mmap)
        one_line(caught.value, tmp_path / "state.pt")
    assert not (tmp_path / "ran").exists()


def test_another_format(tmp_path: Path) -> None:
    for state in ({"format": 99}, {"no format": 1}):
        torch.save(state, tmp_path / "state.pt")
        with pytest.raises(CorruptFile) as caught:
            load_state(tmp_path / "state.pt")
        one_line(caught.value, tmp_path / "state.pt")


def test_weights_of_a_run(tmp_path: Path) -> None:
    class Agent(nn.Linear):
        pass

    agent, other = Agent(3, 2), Agent(3, 2)
    saver = Checkpoints(tmp_path / "checkpoints", 2, {"agent": agent}, make(1).replay)
    with pytest.raises(CorruptFile) as caught:
        state_file(tmp_path)
    one_line(caught.value, tmp_path)
    assert saver.best() == -np.inf
    saver.save_best(3, 12.5)
    assert saver.best() == 12.5
    saver.save(4, {})
    with torch.no_grad():
        agent.weight.add_(1)
    latest = saver.save(5, {})
    assert state_file(tmp_path) == state_file(latest) == state_file(latest / "state.pt")
    assert load_weights(other, state_file(tmp_path)) == 5
    assert torch.equal(other.weight, agent.weight)
    assert load_weights(other, state_file(tmp_path / "checkpoints" / "best.pt")) == 3
    torch.testing.assert_close(other.weight, agent.weight - 1)
    for wrong in (Agent(4, 2), nn.Linear(3, 2, bias=False), nn.Sequential(nn.Linear(3, 2))):
        with pytest.raises(CorruptFile, match="another architecture") as caught:
            load_weights(wrong, state_file(tmp_path))
        one_line(caught.value, state_file(tmp_path))
