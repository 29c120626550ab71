"""Speed of selectors at 1M items, batch 256: `python benchmarks/selector_speed.py [--json PATH]`.

Prints the median microseconds of select (ids, inclusion and weights) and of update, and their ratio to three references
that take turns with them in the same process: cpprb (C++ segment tree, if it is installed), the plain law in numpy (one
cumulative sum over all items, then a binary search), and memory (reading, or writing, 256 rows of 16 values at random
places, which a tree of fan-out 16 has to do once a level).
"""

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import Table, parse, write
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
    given = parse(__doc__, items=1_000_000, batch=256, turns=(20, "of 50 rounds each"))
    losses = np.random.default_rng(0).random(given.items) * 10
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "prioritized": ("prioritized", {}),
        "prioritized, independent": ("prioritized", {"stratified": False}),
        "curious": ("curious", {}),
        "uniform": ("uniform", {}),
        "mixture": ("mixture", {"components": MIXTURE}),
    }
    pairs = {label: selector(name, losses, given.batch, **how) for label, (name, how) in kinds.items()}
    references = {
        **peers(losses, given.batch),
        "numpy cumsum": cumulative(losses, given.batch),
        "memory": memory(losses, given.batch),
    }
    figures = measure(pairs | references, given.batch, given.turns)
    title = f"{given.items:,} items, batch {given.batch}, median microseconds of {50 * (given.turns - 1)} rounds"
    columns = (f"to {name}:16.3f" for name in references)
    table = Table(f"{title}; select + update by that of", "select:10.1f", "update:10.1f", *columns, width=26)
    for name, row in figures.items():
        whole = row["select_us"] + row["update_us"]
        ratios = [whole / sum(figures[reference].values()) for reference in references]
        table.row(name, row["select_us"], row["update_us"], *ratios)
    write(given, figures)


if __name__ == "__main__":
    main()
