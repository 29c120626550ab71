"""Replay: one preallocated ring of steps per environment stream, from which windows are drawn."""

import json
import math
import mmap
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from quantum_sampler import Selector
from worldmodel.runs.array_file import read_arrays, write_arrays
from worldmodel.runs.atomic_file import WriteError

Array = NDArray[Any]
Fields = Mapping[str, tuple[tuple[int, ...], Any]]  # name -> (shape of one step, dtype)
PAGES = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (0x4000 if sys.platform == "linux" else 0)  # MAP_NORESERVE: they may
# be more than the machine has, as long as they are not written
BLOCK = 1024  # steps of every stream that a disk sets space aside for at once
PIECE_BYTES = 64 * 2**20  # most that one file of the archive holds


@dataclass(config=ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True), kw_only=True)
class ReplayConfig:
    """What is kept and who chooses from it. All other keys are options of the selector."""

    capacity: Annotated[int, Field(ge=1)] = 1_000_000
    """steps kept, of all streams together"""
    storage: Literal["memory", "disk"] = "memory"
    """memory or disk"""
    stride: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """steps of an item; auto: 1 for uniform selectors, else the length of a window"""
    fresh: Annotated[int, Field(ge=0)] = 1
    """windows of each batch that are taken from data not replayed before"""
    selector: str


class Window(NamedTuple):
    """A batch of windows, time first. Buffers are reused: valid until the next `sample`.

    fields: name -> [T, B, ...]; before: name -> [B, ...], the step before the window; weight float32 [B];
    ids int64 [B], the items; stream [B] and start [B] say where the windows lie; plan_age: of the selector's plan.
    """

    fields: dict[str, Array]
    before: dict[str, Array]
    weight: Array
    ids: Array
    stream: Array
    start: Array
    plan_age: int


def bytes_per_step(fields: Fields) -> int:
    """Bytes that one step of one stream takes."""
    return sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in fields.values())


class Replay:
    """Steps of E streams in rings of L steps each; an item is a chunk of `stride` steps in which a window starts.

    Item c E + e is chunk c of stream e. It is selectable once every window that may start in it is complete, and
    until the step before it is overwritten. A window may cross episodes; is_first marks where the model resets.
    Fields named in `latents` may be rewritten after training; their history is not archived.
    """

    def __init__(
        self,
        fields: Fields,
        latents: Fields,
        selector: Selector,
        *,
        steps: int,
        streams: int,
        window: int,
        stride: int,
        seed: int,
        directory: Path | None = None,
    ) -> None:
        self.length, self.streams, self.window, self.stride = steps, streams, window, stride
        self.selector = selector
        self._fields, self._latents = dict(fields), dict(latents)
        self._rng = np.random.default_rng((seed, 1))  # independent of a selector with the same seed
        self._end: Array = np.zeros(streams, np.int64)  # steps ever added to each stream
        self._listed: Array = np.zeros(streams, np.int64)  # chunks ever made selectable
        self._dropped: Array = np.zeros(streams, np.int64)  # chunks ever removed
        self._rings = {
            name: _allocate((streams, steps, *shape), dtype, directory and directory / f"{number}.bin")
            for number, (name, (shape, dtype)) in enumerate({**self._fields, **self._latents}.items())
        }
        self._out: dict[tuple[str, tuple[int, ...]], Array] = {}
        self._reserved = 0 if directory and hasattr(os, "posix_fallocate") else steps  # rows that have their space
        self._archived: Array = np.zeros(streams, np.int64)
        self._chunks: list[tuple[str, int, int, int]] = []  # file, stream, begin, end

    @staticmethod
    def item_capacity(steps: int, streams: int, stride: int) -> int:
        """Slots that a selector needs for rings of `steps` steps."""
        return -(-steps // stride) * streams

    def __len__(self) -> int:
        """Steps in memory."""
        return int(np.minimum(self._end, self.length).sum())

    def nonzero(self, field: str) -> float:
        """The share of stored steps whose field, a number, is not 0."""
        kept = np.minimum(self._end, self.length)
        found = sum(np.count_nonzero(ring[:count]) for ring, count in zip(self._rings[field], kept, strict=True))
        return found / max(1, int(kept.sum()))

    def add(self, streams: Array, step: Mapping[str, Array]) -> None:
        """Append one step [R, ...] to each of R different streams, overwriting the oldest when a ring is full."""
        self._drop(streams)
        rows = self._end[streams] % self.length
        self._reserve(int(rows.max()) + 1)
        for name, ring in self._rings.items():
            ring[streams, rows] = step[name]
        self._end[streams] += 1
        ready = (
            self._end[streams] - self.window - self.stride + 1
        ) // self.stride + 1  # chunks with all windows complete
        for stream, count in zip(streams, ready, strict=True):
            if count > self._listed[stream]:
                chunks = np.arange(self._listed[stream], count)
                self._listed[stream] = count
                self.selector.add(chunks * self.streams + stream)

    def truncate(self, stream: int) -> None:
        """Mark the last step of a stream as truncated: its episode could not be continued."""
        if self._end[stream] > 0:
            row = (self._end[stream] - 1) % self.length
            self._rings["truncated"][stream, row] = not self._rings["terminated"][stream, row]
            self._archived[stream] = min(self._archived[stream], self._end[stream] - 1)

    def sample(self, batch: int, context: Array | None = None) -> Window:
        """Draw a batch of windows. Raises EmptyReplay while there is none."""
        selection = self.selector.select(batch, context)
        window = self._items(selection.ids, self._rng.integers(self.stride, size=batch))
        return window._replace(weight=selection.weight.astype(np.float32), plan_age=selection.plan_age)

    def at(self, ids: Array) -> Window:
        """The first window of each of these items, which must be selectable."""
        return self._items(ids, np.zeros(len(ids), np.int64))

    def oldest(self, streams: Array) -> Array:
        """The first step of these streams that is kept."""
        kept: Array = np.maximum(0, self._end[streams] - self.length)
        return kept

    def steps(self, name: str, streams: Array, steps: Array) -> Array:
        """A field of some steps, which must be kept: arrays of equal shape, or shapes that broadcast."""
        found: Array = self._rings[name][streams, steps % self.length]
        return found

    def latest(self, steps: int) -> Window:
        """The last steps of the first stream as a batch of one, chosen without the selector."""
        start = np.maximum(self._end[:1] - steps, np.maximum(1, self._end[:1] - self.length + 1))
        return self._window(np.zeros(1, np.int64), start, int(self._end[0] - start[0]))

    def write_back(
        self, window: Window, latents: Mapping[str, Array], loss: Array, feature: Array | None = None
    ) -> None:
        """Store fresh latents [T, B, ...] of a window's steps, and tell the selector its losses [B].

        Steps that have been overwritten since the window was drawn are left alone.
        """
        absolute = window.start + np.arange(self.window)[:, None]  # [T, B]
        live = absolute >= self._end[window.stream] - self.length
        rows = self._rows(window.stream, window.start, self.window)[live]
        for name, value in latents.items():
            ring = self._rings[name]
            ring.reshape(-1, *ring.shape[2:])[rows] = value[live]
        self.selector.update(window.ids, loss, feature)

    def _items(self, ids: Array, offset: Array) -> Window:
        """The windows that start `offset` steps into these items."""
        chunk, stream = np.divmod(ids, self.streams)
        return self._window(stream, chunk * self.stride + offset, self.window)._replace(ids=ids)

    def _window(self, stream: Array, start: Array, steps: int) -> Window:
        """The windows that start there."""
        rows = self._rows(stream, start, steps)
        before = (start - 1) % self.length + stream * self.length
        fields = {name: self._take(name, rows) for name in self._fields}
        previous = {name: self._take(name, before) for name in (*self._latents, "action")}
        count = len(stream)
        return Window(fields, previous, np.ones(count, np.float32), np.full(count, -1), stream, start, 0)

    def _rows(self, stream: Array, start: Array, steps: int) -> Array:
        """Flat ring rows of windows, int64 [T, B]."""
        rows: Array = (start + np.arange(steps)[:, None]) % self.length + stream * self.length
        return rows

    def _take(self, name: str, rows: Array) -> Array:
        """Gather rows of one field into its buffer. [rows] -> [rows, ...]"""
        ring = self._rings[name]
        out = self._out.get((name, rows.shape))
        if out is None:
            out = np.empty((*rows.shape, *ring.shape[2:]), ring.dtype)
            self._out[name, rows.shape] = out
        np.take(ring.reshape(-1, *ring.shape[2:]), rows, axis=0, out=out, mode="clip")
        return out

    def _drop(self, streams: Array) -> None:
        """Remove the items whose window or preceding step the next step of these streams overwrites."""
        oldest = self._end[streams] + 1 - self.length  # the first step that survives
        gone = np.minimum(np.maximum((oldest + self.stride) // self.stride, 0), self._listed[streams])
        for stream, count in zip(streams, gone, strict=True):
            if count > self._dropped[stream]:
                self.selector.remove(np.arange(self._dropped[stream], count) * self.streams + stream)
                self._dropped[stream] = count

    def _reserve(self, rows: int) -> None:
        """Have the disk set space aside for the first `rows` rows of every ring, and for some more.

        A page of a mapped file for which there is no space would end the process. Raises WriteError.
        """
        if rows <= self._reserved:
            return
        until = min(max(rows, self._reserved + BLOCK), self.length)
        for ring in self._rings.values():
            if isinstance(ring, np.memmap):
                row = ring[0, :1].nbytes
                try:
                    with open(str(ring.filename), "r+b") as file:
                        for start in range(self._reserved, self.streams * self.length, self.length):
                            os.posix_fallocate(file.fileno(), start * row, (until - self._reserved) * row)
                except OSError as error:
                    raise WriteError(Path(str(ring.filename)), error) from error
        self._reserved = until

    # The archive: steps are written once, in files that checkpoints refer to; latents are written anew each time.

    def archive(self, directory: Path) -> list[str]:
        """Write the steps that no file holds yet; returns the names of all files that hold live steps."""
        for stream, first in enumerate(np.maximum(self._archived, self._end - self.length)):
            for begin, end in self._pieces(self._fields, int(first), int(self._end[stream])):
                name = f"stream{stream}-{begin:012d}-{end:012d}.npz"
                write_arrays(directory / name, self._slices(self._fields, stream, begin, end))
                self._chunks.append((name, stream, begin, end))
        self._archived = self._end.copy()
        self._chunks = [c for c in self._chunks if c[3] > self._end[c[1]] - self.length]
        return [c[0] for c in self._chunks]

    def forget_archive(self) -> None:
        """Write all live steps anew when they are archived next: the files are gone."""
        self._archived = np.zeros(self.streams, np.int64)
        self._chunks = []

    def write_latents(self, path: Path) -> None:
        """Write the present latents of all live steps."""
        write_arrays(
            path,
            (
                (f"{stream}/{begin}/{name}", array)
                for stream, end in enumerate(self._end)
                for begin, stop in self._pieces(self._latents, max(0, int(end) - self.length), int(end))
                for name, array in self._slices(self._latents, stream, begin, stop)
            ),
        )

    def restore(self, directory: Path, latents: Path) -> None:
        """Fill the rings from the archive, after `load_state_dict`."""
        for name, stream, begin, end in self._chunks:
            for field, array in read_arrays(directory / name):
                self._put(field, stream, begin, array[: end - begin])
        for key, array in read_arrays(latents):
            number, first, field = key.split("/", 2)
            self._put(field, int(number), int(first), array)

    def state_dict(self) -> dict[str, Any]:
        """Counters, the files of the archive, the random state and the selector; the steps are in the archive."""
        return {
            "end": self._end.tolist(),
            "listed": self._listed.tolist(),
            "dropped": self._dropped.tolist(),
            "chunks": [list(chunk) for chunk in self._chunks],
            "random": json.dumps(self._rng.bit_generator.state),
            "selector": self.selector.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; `restore` brings the steps."""
        self._end, self._listed, self._dropped = (
            np.array(state[key], np.int64) for key in ("end", "listed", "dropped")
        )
        self._archived = self._end.copy()
        self._chunks = [tuple(chunk) for chunk in state["chunks"]]
        self._rng.bit_generator.state = json.loads(state["random"])
        self.selector.load_state_dict(state["selector"])

    def _pieces(self, fields: Fields, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Ranges of steps that cover begin..end; each is contiguous in the ring, so that saving copies nothing."""
        size = max(1, PIECE_BYTES // bytes_per_step(fields))
        while begin < end:
            stop = min(begin + size, end, begin - begin % self.length + self.length)
            yield begin, stop
            begin = stop

    def _slices(self, fields: Fields, stream: int, begin: int, end: int) -> Iterator[tuple[str, Array]]:
        row = begin % self.length
        yield from ((name, self._rings[name][stream, row : row + end - begin]) for name in fields)

    def _put(self, name: str, stream: int, begin: int, array: Array) -> None:
        first = max(begin, int(self._end[stream]) - self.length)  # what comes before it has been overwritten
        row, live = first % self.length, array[first - begin :]
        self._reserve(row + len(live))
        self._rings[name][stream, row : row + len(live)] = live


def _allocate(shape: tuple[int, ...], dtype: Any, path: Path | None) -> Array:
    """A zeroed array whose pages take no memory before they are written: anonymous, or a file that is made anew."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # that of an earlier process; or a link, which is not followed
        return np.memmap(path, dtype, "w+", shape=shape)
    count = math.prod(shape)
    pages = mmap.mmap(-1, max(1, count * np.dtype(dtype).itemsize), flags=PAGES)
    return np.frombuffer(pages, dtype, count).reshape(shape)
