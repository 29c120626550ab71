"""The replay, against lists of steps."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantum_sampler import EmptyReplay, Selector, make_selector
from tests.worldmodel.replay.replays import FIELDS, LATENTS, Filled, Scripted, make, step
from worldmodel.replay import buffer as module
from worldmodel.replay.buffer import Replay, Window, bytes_per_step
from worldmodel.runs.array_file import CorruptFile


@st.composite
def fillings(draw: st.DrawFn) -> tuple[Filled, list[list[int]]]:
    """A replay of any shape, and which streams get a step in each of many rounds."""
    streams, window, stride = draw(st.integers(1, 3)), draw(st.integers(2, 5)), draw(st.integers(1, 4))
    length = draw(st.integers(window + stride, window + stride + 12))
    pattern = draw(st.lists(st.sets(st.integers(0, streams - 1), min_size=1), min_size=1, max_size=6))
    rounds = [sorted(pattern[i % len(pattern)]) for i in range(draw(st.integers(0, 60)))]
    return make(streams, length, window, stride), rounds


@settings(max_examples=80)
@given(fillings())
def test_items_and_windows(case: tuple[Filled, list[list[int]]]) -> None:
    filled, rounds = case
    selector = filled.replay.selector
    assert isinstance(selector, Scripted)
    for streams in rounds:
        filled.add(streams)
        assert selector.live == filled.expected_items()
        assert len(filled.replay) == sum(min(len(steps), filled.length) for steps in filled.steps)
    selector.draws = sorted(selector.live)
    if selector.live:
        window = filled.replay.sample(len(selector.draws))
        filled.check(window)
        streams = len(filled.steps)
        for item, e, start in zip(window.ids, window.stream, window.start, strict=True):
            assert item % streams == e and item // streams == start // filled.stride
        assert window.weight.tolist() == [i + 0.5 for i in range(len(selector.draws))] and window.plan_age == 3


@settings(max_examples=60)
@given(fillings(), st.integers(0, 12), st.integers(0, 99))
def test_latents_are_written_back_to_steps_that_are_still_there(
    case: tuple[Filled, list[list[int]]], later: int, seed: int
) -> None:
    filled, rounds = case
    for streams in rounds:
        filled.add(streams)
    selector = filled.replay.selector
    assert isinstance(selector, Scripted)
    selector.draws = sorted(selector.live)
    if not selector.live:
        return
    rng = np.random.default_rng(seed)
    window = filled.replay.sample(len(selector.draws))
    shape = (filled.window, len(selector.draws))
    fresh = {
        "deter": rng.integers(-9999, 0, (*shape, 2), np.int16),
        "stoch": rng.integers(50, 99, (*shape, 3), np.uint8),
    }
    for i in range(later):
        filled.add(rounds[i % len(rounds)])
    filled.replay.write_back(window, fresh, np.arange(len(selector.draws)) + 0.25)
    written: dict[tuple[int, int], list[list[list[int]]]] = {}
    for b, (e, start) in enumerate(zip(window.stream.tolist(), window.start.tolist(), strict=True)):
        for t in range(filled.window):
            values = [fresh[key][t, b].tolist() for key in LATENTS]
            written.setdefault((e, start + t), []).append(values)
    for e, (have, plain) in enumerate(zip(filled.stored_latents(), filled.latents(), strict=True)):
        first = max(0, len(filled.steps[e]) - filled.length)
        for i, (stored, old) in enumerate(zip(have, plain, strict=True)):
            candidates = written.get((e, first + i))
            assert stored in candidates if candidates else stored == old
    assert selector.updates == [(selector.draws, [i + 0.25 for i in range(len(selector.draws))])]


@pytest.mark.parametrize(("length", "adds"), [(20, 0), (20, 5), (20, 13), (20, 20), (20, 67), (7, 50)])
@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_archive_and_restore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, adds: int, pieces: int
) -> None:
    """Saved at several moments, restored from the last: steps, latents, counters and the next draws are the same."""
    monkeypatch.setattr(module, "PIECE_BYTES", pieces * bytes_per_step(FIELDS))
    filled = make(
        2, length, window=3, stride=2, selector=make_selector("uniform", Replay.item_capacity(length, 2, 2), 0)
    )
    files: list[str] = []
    for i in range(adds):
        filled.add([0, 1] if i % 3 else [1])
        if i % 11 == 4:
            files = filled.replay.archive(tmp_path)
            if len(filled.replay.selector):
                window = filled.replay.sample(4)
                shape = (3, 4)
                filled.replay.write_back(
                    window, {"deter": np.full((*shape, 2), i), "stoch": np.full((*shape, 3), i)}, np.ones(4)
                )
    files = filled.replay.archive(tmp_path)
    filled.replay.write_latents(tmp_path / "latents.npz")
    state = filled.replay.state_dict()
    assert set(files) <= {path.name for path in tmp_path.iterdir()} and len(set(files)) == len(files)
    assert filled.replay.archive(tmp_path) == files  # nothing new, nothing written

    selector = make_selector("uniform", Replay.item_capacity(length, 2, 2), 9)
    again = make(2, length, window=3, stride=2, selector=selector)
    again.replay.load_state_dict(state)
    again.replay.restore(tmp_path, tmp_path / "latents.npz")
    again.steps = [list(steps) for steps in filled.steps]
    assert len(again.replay) == len(filled.replay)
    assert again.stored_latents() == filled.stored_latents()
    for _ in range(3):
        if len(selector):
            ours, theirs = again.replay.sample(5), filled.replay.sample(5)
            again.check(ours._replace(before=step_before(again, ours)))
            assert ours.ids.tolist() == theirs.ids.tolist() and ours.start.tolist() == theirs.start.tolist()
            for key in theirs.before:
                assert np.array_equal(ours.before[key], theirs.before[key])
        for one in (again, filled):
            one.add([0, 1])
    more = again.replay.archive(tmp_path)
    assert {n for n in more if n not in files} == {n for n in filled.replay.archive(tmp_path) if n not in files}


def step_before(filled: Filled, window: Window) -> dict[str, Any]:
    """The steps before the windows as they were added: their latents have been written anew."""
    rows = [
        filled.steps[e][start - 1] if start else step(0, 0)
        for e, start in zip(window.stream.tolist(), window.start.tolist(), strict=True)
    ]
    return {key: np.stack([np.asarray(row[key]) for row in rows]) for key in (*LATENTS, "action")}


def test_the_archive_writes_every_step_once_and_forgets_what_is_overwritten(tmp_path: Path) -> None:
    filled = make(1, length=20)
    written: set[str] = set()
    for i in range(100):
        filled.add([0])
        if i % 10 == 9:
            names = set(filled.replay.archive(tmp_path))
            fresh = names - written
            assert fresh == {f"stream0-{i - 9:012d}-{i + 1:012d}.npz"}
            assert len(names) <= 3  # 20 steps in pieces of 10
            written |= names


def test_a_truncated_step_is_archived_again(tmp_path: Path) -> None:
    filled = make(2, length=20, window=2)
    for _ in range(6):
        filled.add([0, 1])  # the last step, at place 5, is in the middle of an episode
    before = filled.replay.archive(tmp_path)
    filled.replay.truncate(1)
    filled.steps[1][-1]["truncated"] = True
    files = filled.replay.archive(tmp_path)
    assert len(files) == len(before) + 1
    filled.replay.write_latents(tmp_path / "latents.npz")
    again = make(2, length=20, window=2)
    again.replay.load_state_dict(filled.replay.state_dict())
    again.replay.restore(tmp_path, tmp_path / "latents.npz")
    again.steps = filled.steps
    assert isinstance(again.replay.selector, Scripted)
    again.replay.selector.draws = sorted(again.replay.selector.live)
    again.check(again.replay.sample(len(again.replay.selector.draws)))


def test_a_terminated_step_is_not_also_truncated() -> None:
    filled = make(2, length=20, window=2)
    filled.replay.truncate(1)  # nothing there yet
    for _ in range(7):
        filled.add([0, 1])  # stream 1 has just terminated, stream 0 was truncated
    filled.replay.truncate(0)
    filled.replay.truncate(1)
    window = filled.replay._window(np.array([0, 1]), np.array([6, 6]), 1)
    assert window.fields["truncated"].tolist() == [[True, False]]
    assert window.fields["terminated"].tolist() == [[False, True]]


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    filled = make(1)
    for _ in range(9):
        filled.add([0])
    (name,) = filled.replay.archive(tmp_path)
    filled.replay.write_latents(tmp_path / "latents.npz")
    state = filled.replay.state_dict()
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:-100])
    again = make(1)
    again.replay.load_state_dict(state)
    with pytest.raises(CorruptFile, match=name):
        again.replay.restore(tmp_path, tmp_path / "latents.npz")
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CorruptFile, match="nothing"):
        again.replay.restore(tmp_path, tmp_path / "nothing.npz")


def test_latest() -> None:
    filled = make(2, length=20)
    for i in range(33):
        filled.add([0, 1])
        if i < 1:
            continue
        window = filled.replay.latest(8)
        numbers = window.fields["observation/number"]
        count = min(8, i)
        assert numbers[:, 0].tolist() == list(range(i + 1 - count, i + 1)) and numbers.shape == (count, 1)
        assert window.before["deter"][0, 0] == i - count
    assert filled.replay.latest(100).fields["action"].shape[0] == 19  # all but the one before the first


def test_on_disk(tmp_path: Path) -> None:
    """The same windows as in memory, from files; a key may hold anything that a name of a file may not."""
    one, other = make(2, directory=tmp_path / "replay"), make(2)
    for i in range(31):
        one.add([0, 1] if i % 2 else [0])
        other.add([0, 1] if i % 2 else [0])
    for filled in (one, other):
        assert isinstance(filled.replay.selector, Scripted)
        filled.replay.selector.draws = sorted(filled.replay.selector.live)
        filled.check(filled.replay.sample(len(filled.replay.selector.draws)))
    assert one.stored_latents() == other.stored_latents()
    on_disk = sum(path.stat().st_size for path in (tmp_path / "replay").iterdir())
    assert on_disk == 2 * 20 * bytes_per_step({**FIELDS, **LATENTS})


def test_every_field_has_a_file_of_its_own(tmp_path: Path) -> None:
    keys = ["a/b", "a-b", "A-b", "ä/../b", "x" * 300]
    fields = {f"observation/{key}": ((), np.int32) for key in keys} | {"action": ((1,), np.float32)}
    replay = Replay(
        fields, {}, Scripted(10), steps=10, streams=1, window=2, stride=1, seed=0, directory=tmp_path / "replay"
    )
    for i in range(3):
        values = {f"observation/{key}": np.array([10 * i + k]) for k, key in enumerate(keys)}
        replay.add(np.array([0]), values | {"action": np.zeros((1, 1))})
    window = replay.latest(2)
    for k, key in enumerate(keys):
        assert window.fields[f"observation/{key}"].tolist() == [[10 + k], [20 + k]]


def test_uniform_draws_of_start_steps() -> None:
    """With a stride the windows start anywhere in the chunk, equally often."""
    filled = make(1, 60, window=4, stride=5, selector=make_selector("uniform", Replay.item_capacity(60, 1, 5), 1))
    for _ in range(50):
        filled.add([0])
    starts = np.concatenate([filled.replay.sample(500).start for _ in range(20)])
    chunks = 9  # 0..44: the window from 44 ends at 48
    counts = np.bincount(starts, minlength=45)
    assert len(counts) == 5 * chunks
    expected = 10_000 / 45
    assert ((counts - expected) ** 2 / expected).sum() < 79  # 44 degrees of freedom: exceeded with probability 0.001


@pytest.mark.parametrize("name", ["uniform", "prioritized", "curious"])
def test_real_selectors_follow_streams_of_unequal_length(name: str) -> None:
    selector: Selector = make_selector(name, Replay.item_capacity(24, 3, 3), 0)
    filled = make(3, 24, window=5, stride=3, selector=selector)
    with pytest.raises(EmptyReplay):
        filled.replay.sample(2)
    rng = np.random.default_rng(0)
    for _ in range(150):
        filled.add(np.flatnonzero(rng.random(3) < [0.9, 0.5, 0.1]).tolist() or [0])
        assert len(selector) == len(filled.expected_items())
        if len(selector):
            window = filled.replay.sample(4)
            assert set(window.ids.tolist()) <= filled.expected_items()
            filled.check(window._replace(before=step_before(filled, window)))
            latents = {"deter": np.zeros((5, 4, 2)), "stoch": np.zeros((5, 4, 3))}
            filled.replay.write_back(window, latents, rng.random(4))
    assert selector.metrics()["ignored"] == 0


MEMORY = """
import gc, sys, numpy as np, psutil, torch
from pathlib import Path
from quantum_sampler import make_selector
from worldmodel.replay.buffer import Replay, bytes_per_step
fields = {"observation/image": ((64, 64, 3), np.uint8), "action": ((4,), np.uint8), "reward": ((), np.float32),
          "is_first": ((), np.bool_), "terminated": ((), np.bool_), "truncated": ((), np.bool_)}
latents = {"deter": ((512,), np.int16), "stoch": ((32,), np.uint8)}
L, E, folder = 8000, 2, Path(sys.argv[1])
def make():
    selector = make_selector("prioritized", Replay.item_capacity(L, E, 16), 0)
    return Replay(fields, latents, selector, steps=L, streams=E, window=16, stride=16, seed=0)
process = psutil.Process()
def grown():
    gc.collect()
    return process.memory_info().rss - start
step = {name: np.ones((E, *shape), dtype) for name, (shape, dtype) in {**fields, **latents}.items()}
def peak():
    text = Path("/proc/self/status").read_text()  # ru_maxrss would start from that of the process that forked this one
    return int(text.split("VmHWM:")[1].split()[0]) * 1024 - start
warm = make(); warm.add(np.arange(E), step); warm.archive(folder); warm.write_latents(folder / "warm"); del warm
start = process.memory_info().rss
replay = make()
empty = grown()
for i in range(L + 100):
    replay.add(np.arange(E), step)
    if i > 100 and i % 100 == 0:
        replay.sample(16)
stored = bytes_per_step({**fields, **latents}) * L * E
filled = grown()
replay.archive(folder); replay.write_latents(folder / "latents.npz")
saving = peak()
state = replay.state_dict()
del replay; gc.collect()
replay = make(); replay.load_state_dict(state); replay.restore(folder, folder / "latents.npz")
print(empty / stored, filled / stored, saving / stored, peak() / stored, grown() / stored)
"""


@pytest.mark.slow
def test_memory(tmp_path: Path) -> None:
    """Of a full replay: at most 1.1 times what it stores; a file of it more while it is restored."""
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout
    empty, filled, saving, restoring, restored = map(float, output.split())
    assert empty < 0.05  # pages are taken when steps come
    assert 0.95 < filled < 1.1 and 0.95 < restored < 1.2  # malloc keeps a little of what it read
    assert saving < filled + 0.1 and restoring < filled + 0.4  # a file holds 64 MiB, of the 203 MiB here
