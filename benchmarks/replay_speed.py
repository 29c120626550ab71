"""Replay: bandwidth of gathering windows of images, and memory per byte stored.

    OMP_NUM_THREADS=1 python benchmarks/replay_speed.py [--json PATH]

Gather: 16 windows of 64 uint8 frames 64 x 64 x 3, by `Replay.sample` with the uniform selector (selection, all other
fields and latents included), against `np.take(out=)` of the frames alone from one flat array, one thread, in turn.
Memory: the growth of the process's resident memory while a replay of vectors is filled, then archived, as a ratio to
the bytes stored.
"""

import tempfile
from pathlib import Path

import numpy as np
import psutil

from benchmarks.harness import in_turn, parse, write
from quantum_sampler import make_selector
from worldmodel.replay.buffer import Fields, Replay, bytes_per_step

FLAGS: Fields = dict.fromkeys(("is_first", "terminated", "truncated"), ((), np.bool_))
LATENTS: Fields = {"deter": ((512,), np.int16), "stoch": ((32,), np.uint8)}
BATCH, LENGTH, FRAME = 16, 64, (64, 64, 3)


def replay(fields: Fields, steps: int) -> Replay:
    """A full replay of one stream."""
    selector = make_selector("uniform", Replay.item_capacity(steps, 1, 1), 0)
    made = Replay(fields, LATENTS, selector, steps=steps, streams=1, window=LENGTH, stride=1, seed=0)
    rng, stream = np.random.default_rng(0), np.zeros(1, np.int64)
    everything = {**fields, **LATENTS}
    step = {name: rng.integers(0, 2, (1, *shape)).astype(dtype) for name, (shape, dtype) in everything.items()}
    for _ in range(steps):
        made.add(stream, step)
    return made


def gather(steps: int, repeats: int) -> tuple[float, float]:
    """Median seconds of a sample, and of np.take on the frames alone."""
    fields: Fields = {"observation/image": (FRAME, np.uint8), "action": ((6,), np.uint8), "reward": ((), np.float32)}
    made = replay({**fields, **FLAGS}, steps)
    frames = np.ones((steps, *FRAME), np.uint8)
    out = np.empty((LENGTH, BATCH, *FRAME), np.uint8)
    rng = np.random.default_rng(1)

    def take() -> None:
        rows = rng.integers(1, steps - LENGTH, BATCH) + np.arange(LENGTH)[:, None]
        np.take(frames, rows, axis=0, out=out, mode="clip")

    times = in_turn({"sample": lambda: made.sample(BATCH), "take": take}, repeats)
    return float(np.median(times["sample"][:, 0])), float(np.median(times["take"][:, 0]))


def memory(steps: int) -> tuple[float, float, int]:
    """Resident bytes over stored bytes after filling, at the peak of archiving; and the stored bytes."""
    fields: Fields = {
        "observation/vector": ((24,), np.float32),
        "action": ((6,), np.float32),
        "reward": ((), np.float32),
    }
    process = psutil.Process()
    stored = steps * bytes_per_step({**fields, **FLAGS, **LATENTS})
    replay({**fields, **FLAGS}, 1000)  # imports and allocator
    before = process.memory_info().rss
    made = replay({**fields, **FLAGS}, steps)
    full = process.memory_info().rss - before
    with tempfile.TemporaryDirectory() as folder:
        made.archive(Path(folder))
        made.write_latents(Path(folder) / "latents.npz")
    return full / stored, (process.memory_info().rss - before) / stored, stored


def main() -> None:
    """Print the table."""
    given = parse(__doc__, steps=(20_000, "frames in the replay"), repeats=200, memory_steps=300_000)
    filled, archived, stored = memory(given.memory_steps)
    ours, plain = gather(given.steps, given.repeats)
    size = BATCH * LENGTH * int(np.prod(FRAME))
    print(f"batch {BATCH} x {LENGTH} frames {FRAME}")
    for name, seconds in (("sample", ours), ("np.take", plain)):
        print(f"{name:8} {1e3 * seconds:6.2f} ms, {size / seconds / 1e9:5.2f} GB/s")
    print(f"bandwidth of sample / np.take: {plain / ours:.3f}")
    print(f"memory of {stored / 2**20:.0f} MiB stored: x {filled:.3f} filled, x {archived:.3f} after archiving")
    figures = {"sample_ms": 1e3 * ours, "take_ms": 1e3 * plain, "ratio": plain / ours, "memory": [filled, archived]}
    write(given, figures)


if __name__ == "__main__":
    main()
