"""Replays for tests: filled beside lists of steps, with a selector that draws what it is told to."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from quantum_sampler import Selection
from worldmodel.replay.buffer import Replay, Window

FIELDS = {
    "observation/number": ((), np.int64),  # stream * 100,000 + the step's place in its stream
    "observation/image": ((2, 3), np.uint8),
    "action": ((2,), np.float32),
    "is_first": ((), np.bool_),
    "terminated": ((), np.bool_),
    "truncated": ((), np.bool_),
}
LATENTS = {"deter": ((2,), np.int16), "stoch": ((3,), np.uint8)}


@dataclass
class Scripted:
    """A selector that keeps a set of ids and draws the ones that it is told to."""

    capacity: int
    live: set[int] = field(default_factory=set)
    draws: list[int] = field(default_factory=list)
    updates: list[tuple[list[int], list[float]]] = field(default_factory=list)
    last: dict[int, int] = field(default_factory=dict)

    def add(self, ids: ArrayLike, priorities: Any = None, features: Any = None) -> None:
        for item in np.asarray(ids).tolist():
            assert item > self.last.get(item % self.capacity, -1), "ids of a slot must grow"
            assert self.last.get(item % self.capacity) not in self.live, "the slot is still taken"
            self.last[item % self.capacity] = item
            self.live.add(item)

    def remove(self, ids: ArrayLike) -> None:
        for item in np.asarray(ids).tolist():
            self.live.remove(item)

    def select(self, batch_size: int, context: Any = None) -> Selection:
        ids = np.array(self.draws, np.int64)
        return Selection(
            ids, np.ones(len(ids)), np.arange(len(ids)) + 0.5, 0 * ids, 3, law=lambda i, b: np.ones(len(i))
        )

    def update(self, ids: ArrayLike, priorities: ArrayLike, features: Any = None) -> None:
        self.updates.append((np.asarray(ids).tolist(), np.asarray(priorities).tolist()))

    def state_dict(self) -> dict[str, Any]:
        return {"live": sorted(self.live)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.live = set(state["live"])


def step(stream: int, place: int) -> dict[str, Any]:
    """The step of a stream at a place; its content tells where it belongs."""
    number = 100_000 * stream + place
    return {
        "observation/number": number,
        "observation/image": np.arange(6).reshape(2, 3) + number % 250,
        "action": np.array([number, -number]) / 8,
        "is_first": place % 7 == 0,
        "terminated": place % 7 == 6 and stream % 2,
        "truncated": place % 7 == 6 and not stream % 2,
        "deter": np.array([number % 30_000, stream]),
        "stoch": np.array([place % 5, 1, 2]),
    }


@dataclass
class Filled:
    """A replay and the lists that it must agree with."""

    replay: Replay
    length: int
    window: int
    stride: int
    steps: list[list[dict[str, Any]]]

    def add(self, streams: list[int]) -> None:
        new = [step(e, len(self.steps[e])) for e in streams]
        for e, one in zip(streams, new, strict=True):
            self.steps[e].append(one)
        self.replay.add(np.array(streams), {key: np.stack([np.asarray(s[key]) for s in new]) for key in new[0]})

    def alive(self, stream: int, place: int) -> bool:
        end = len(self.steps[stream])
        return end - self.length <= place < end

    def expected_items(self) -> set[int]:
        """Chunks of which every window is there, and the step before it has not been overwritten."""
        items = set()
        for e, steps in enumerate(self.steps):
            for c in range(len(steps)):
                starts = range(c * self.stride, (c + 1) * self.stride)
                complete = all(s + self.window <= len(steps) for s in starts)
                if complete and len(steps) - self.length <= c * self.stride - 1:
                    items.add(c * len(self.steps) + e)
        return items

    def check(self, window: Window) -> None:
        """Every window is contiguous in its stream and as it was added, and so is the step before it."""
        for b, (e, start) in enumerate(zip(window.stream.tolist(), window.start.tolist(), strict=True)):
            for t in range(self.window):
                for key in FIELDS:
                    np.testing.assert_array_equal(window.fields[key][t, b], self.steps[e][start + t][key])
            if start > 0:
                for key in (*LATENTS, "action"):
                    np.testing.assert_array_equal(window.before[key][b], self.steps[e][start - 1][key])
        for key, (shape, dtype) in FIELDS.items():
            assert window.fields[key].shape[2:] == shape and window.fields[key].dtype == dtype

    def latents(self) -> list[list[list[Any]]]:
        """The latents that the lists say are stored now, by stream and step."""
        return [
            [[s[key].tolist() for key in LATENTS] for p, s in enumerate(steps) if self.alive(e, p)]
            for e, steps in enumerate(self.steps)
        ]

    def stored_latents(self) -> list[list[list[Any]]]:
        """What the replay has, read as the step before each window of one step."""
        result = []
        for e, steps in enumerate(self.steps):
            rows = [p for p in range(len(steps)) if self.alive(e, p)]
            before = self.replay._window(np.full(len(rows), e), np.array(rows, np.int64) + 1, 1).before
            result.append([[before[key][i].tolist() for key in LATENTS] for i in range(len(rows))])
        return result


def make(
    streams: int = 1,
    length: int = 20,
    window: int = 4,
    stride: int = 1,
    selector: Any = None,
    directory: Path | None = None,
) -> Filled:
    selector = Scripted(Replay.item_capacity(length, streams, stride)) if selector is None else selector
    replay = Replay(
        FIELDS,
        LATENTS,
        selector,
        steps=length,
        streams=streams,
        window=window,
        stride=stride,
        seed=0,
        directory=directory,
    )
    return Filled(replay, length, window, stride, [[] for _ in range(streams)])
