"""Speed of selectors at 1M items, batch 256: `python benchmarks/selector_speed.py [--json PATH]`.

Prints the median microseconds of select (ids, inclusion and weights) and of update, and their ratio to three references
that take turns with them in the same process: cpprb (C++ segment tree, if it is installed), the plain law in numpy (one
cumulative sum over all items, then a binary search), and memory (reading, or writing, 256 rows of 16 values at random
places, which a tree of fan-out 16 has to do once a level).
"""

import argparse
import itertools
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quantum_sampler import Selector, make_selector
from quantum_sampler.selector import Floats, Ids

Pair = tuple[Callable[[], Ids], Callable[[Ids, Floats], object]]
MIXTURE = {"uniform": {"share": 0.4375}, "prioritized": {"share": 0.5}, "fresh": {"share": 0.0625}}


def selector(name: str, losses: Floats, batch: int, **options: Any) -> Pair:
    """Select and update of one of our selectors."""
    made: Selector = make_selector(name, losses.size, 0, 0, None, **options)
    made.add(np.arange(losses.size), losses)

    def select() -> Ids:
        return made.select(batch).ids

    return select, made.update


def cumulative(losses: Floats, batch: int) -> Pair:
    """The law as numpy writes it in two lines."""
    rng, scores = np.random.default_rng(0), (losses + 0.01) ** 0.6

    def select() -> Ids:
        bounds = np.cumsum(scores)
        slots: Ids = bounds.searchsorted(rng.random(batch) * bounds[-1])
        _ = bounds[-1] / (losses.size * scores[slots])  # importance weights
        return slots

    def update(slots: Ids, new: Floats) -> None:
        scores[slots] = (new + 0.01) ** 0.6

    return select, update


def memory(losses: Floats, batch: int) -> Pair:
    """Random access to rows of 16 values."""
    rng, rows = np.random.default_rng(0), losses[: losses.size // 16 * 16].reshape(-1, 16).copy()
    places = rng.integers(len(rows), size=(512, batch))
    turn = itertools.cycle(range(len(places)))

    def select() -> Ids:
        chosen: Ids = places[next(turn)]
        rows.take(chosen, axis=0)
        return chosen

    def update(chosen: Ids, new: Floats) -> None:
        rows[chosen] = new[:, None]

    return select, update


def peers(losses: Floats, batch: int) -> dict[str, Pair]:
    """Public replay buffers that are installed."""
    try:
        import cpprb
    except ImportError:
        print("cpprb is not installed (pip install cpprb): no public peer in this table\n")
        return {}
    buffer = cpprb.PrioritizedReplayBuffer(losses.size, {"value": {}}, alpha=0.6, eps=0.01)
    buffer.add(value=losses, priorities=losses)

    def select() -> Ids:
        chosen: Ids = buffer.sample(batch, beta=1.0)["indexes"]
        return chosen

    return {"cpprb": (select, lambda ids, new: buffer.update_priorities(ids, new))}


def measure(pairs: dict[str, Pair], batch: int, turns: int) -> dict[str, dict[str, float]]:
    """Median microseconds of each. They take turns of 50 rounds, so all see the same machine and their own cache."""
    rng, times = np.random.default_rng(1), {name: np.zeros((turns, 50, 2)) for name in pairs}
    for turn in range(turns):
        for name, (select, update) in pairs.items():
            for round in range(50):
                new = rng.random(batch) * 10
                begin = time.perf_counter()
                ids = select()
                middle = time.perf_counter()
                update(ids, new)
                times[name][turn, round] = middle - begin, time.perf_counter() - middle
    medians = {name: np.median(values[1:], axis=(0, 1)) * 1e6 for name, values in times.items()}  # the first warms up
    return {name: {"select_us": float(pair[0]), "update_us": float(pair[1])} for name, pair in medians.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--turns", type=int, default=20, help="of 50 rounds each")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    losses = np.random.default_rng(0).random(arguments.items) * 10
    pairs = {
        "prioritized": selector("prioritized", losses, arguments.batch),
        "prioritized, independent": selector("prioritized", losses, arguments.batch, stratified=False),
        "curious": selector("curious", losses, arguments.batch),
        "uniform": selector("uniform", losses, arguments.batch),
        "mixture": selector("mixture", losses, arguments.batch, components=MIXTURE),
    }
    references = {
        **peers(losses, arguments.batch),
        "numpy cumsum": cumulative(losses, arguments.batch),
        "memory": memory(losses, arguments.batch),
    }
    figures = measure(pairs | references, arguments.batch, arguments.turns)
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    rounds = 50 * (arguments.turns - 1)
    print(f"{arguments.items:,} items, batch {arguments.batch}, median of {rounds} rounds, numpy {np.__version__}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, OMP_NUM_THREADS {threads}\n")
    print(f"{'':26}{'select':>10}{'update':>10}   select + update as a multiple of")
    print(f"{'':26}{'us':>10}{'us':>10}   " + "".join(f"{name:>14}" for name in references))
    for name, row in figures.items():
        whole = row["select_us"] + row["update_us"]
        ratios = [whole / sum(figures[reference].values()) for reference in references]
        row |= {f"per {reference}": ratio for reference, ratio in zip(references, ratios, strict=True)}
        line = "".join(f"{ratio:14.3f}" for ratio in ratios)
        print(f"{name:26}{row['select_us']:10.1f}{row['update_us']:10.1f}   {line}")
    if arguments.json:
        settings = {"items": arguments.items, "batch": arguments.batch, "rounds": rounds}
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "omp_num_threads": threads}
        arguments.json.write_text(json.dumps({**settings, **machine, "selectors": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
