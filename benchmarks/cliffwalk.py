"""Blind Cliffwalk: updates that a table of Q-values takes to converge, by selector.

    OMP_NUM_THREADS=1 python benchmarks/cliffwalk.py [TASK ...] [--states 8 10] [--seeds 11] [--batch 1] [--json PATH]

walk: the task of Schaul et al. (arXiv 1511.05952, section 3.1 and appendix B.1). Of two actions in each of n states one
goes on and the other ends the episode; the last one that goes on has the only reward, 1. The replay holds all 2^n
sequences of actions, 2^(n + 1) - 2 transitions in random order (510 for n = 8, 2,046 for n = 10), one of which has the
reward. Q-learning with step size 1/4 and discount 1 - 1/n starts from N(0, 0.1) and has converged when the mean squared
error of all 2n values is below 10^-3. door: the same, but the rewarding transition enters the replay only after as many
updates as twice the transitions; updates are counted from there. tv: the same as walk, and a quarter more transitions
are of a television, whose reward is drawn anew from N(0, 1) at each replay; its value does not count.

All selectors have the same update rule: one update a transition drawn, with the step size above; importance weights are
not used. What was drawn is written back with |TD error| as its loss after each batch; before its first visit a
transition has the loss 1, the largest there is. Feature of a transition: the mean of random vectors of the two states
that it joins (the end of an episode is 0), known to the selector from its first visit on. Context: the feature of the
transition whose last |TD error| is the largest. Selectors that share the options of `prioritized` have alpha = 1 and
epsilon = 10^-4 here, which suits values without noise; `prioritized, defaults` has those of training. Three controls
are no selectors: greedy takes the transition whose last |TD error| is the largest, so it knows what the context of
recall knows; recall with a random context does not; the oracle takes the one whose update reduces the error most.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Option, Table, parse, resampled, write
from quantum_sampler import OptionError, Selector, make_selector
from quantum_sampler.registry import SELECTORS, selector_classes
from quantum_sampler.selector import Floats, Ids
from quantum_sampler.selectors.prioritized import PrioritizedConfig

TASKS = ("walk", "door", "tv")
FEATURES = 64
STEP, CONVERGED, SPREAD = 0.25, 1e-3, 0.1
PRIORITY = {"alpha": 1.0, "epsilon": 1e-4}
OPTIONS: dict[str, dict[str, Any]] = {}  # by selector, beyond PRIORITY and inline planning
RANDOM = "recall, random context"  # a control: nothing but the context tells it from recall
LIMIT = 200  # updates a transition, after which a run is given up
RESAMPLES = 10_000


@dataclass
class Walk:
    """Transitions [T] between states; state n is the end, state n + 1 the television. values [2 n] are the truth."""

    states: int
    entry: Ids  # of the table: 2 state + action
    after: Ids  # state
    reward: Floats
    noisy: NDArray[np.bool_]
    features: NDArray[np.float32]
    discount: float
    values: Floats

    def __len__(self) -> int:
        return self.entry.size


def walk(states: int, noise: float, rng: np.random.Generator) -> Walk:
    """The replay of the walk in random order, and `noise` times as many transitions of a television."""
    state = np.repeat(np.arange(states), 2 ** np.arange(states, 0, -1))  # half of them go on
    first = np.concatenate([[0], np.cumsum(2 ** np.arange(states, 0, -1))])[state]
    right = (np.arange(state.size) - first) * 2 >= 2 ** (states - state)
    after = np.where(right, state + 1, states)
    reward = np.where(right & (state == states - 1), 1.0, 0.0)
    televisions = round(noise * state.size)
    state = np.concatenate([state, np.full(televisions, states + 1)])
    after = np.concatenate([after, np.full(televisions, states)])
    entry = np.concatenate([2 * state[: right.size] + right, np.full(televisions, 2 * states + 2)])
    reward = np.concatenate([reward, np.zeros(televisions)])
    order = rng.permutation(state.size)
    places = rng.normal(size=(states + 2, FEATURES))
    places[states] = 0.0
    vectors = (places[state] + places[after]) / 2
    vectors[state > states] += rng.normal(size=(televisions, FEATURES)) / 2  # each shows another picture
    discount = 1.0 - 1.0 / states
    values = np.zeros(2 * states)
    values[1::2] = discount ** np.arange(states - 1, -1, -1)
    noisy, features = state[order] > states, vectors[order].astype(np.float32)
    return Walk(states, entry[order], after[order], reward[order], noisy, features, discount, values)


class Learner:
    """A table of Q-values; lists, for they are read one number at a time."""

    def __init__(self, task: Walk, rng: np.random.Generator) -> None:
        self._rng, self._discount, self._truth = rng, task.discount, task.values.tolist()
        self.table: list[float] = rng.normal(0.0, SPREAD, 2 * task.states + 4).tolist()
        self.table[2 * task.states : 2 * task.states + 2] = 0.0, 0.0  # the end
        self._entry, self._after = task.entry.tolist(), (2 * task.after).tolist()
        self._reward, self._noisy = task.reward.tolist(), task.noisy.tolist()

    @property
    def converged(self) -> bool:
        """Whether the mean squared error of the values that count is small enough."""
        squares = sum((value - truth) ** 2 for value, truth in zip(self.table, self._truth, strict=False))
        return bool(squares < CONVERGED * len(self._truth))

    def difference(self, item: int) -> float:
        """TD error of a transition now."""
        reward = self._rng.normal() if self._noisy[item] else self._reward[item]
        after = self._after[item]
        best = max(self.table[after], self.table[after + 1])
        return float(reward + self._discount * best - self.table[self._entry[item]])

    def update(self, item: int) -> float:
        """Learn from a transition; returns the size of its TD error before."""
        difference = self.difference(item)
        self.table[self._entry[item]] += STEP * difference
        return abs(difference)


class Batch(NamedTuple):
    """What `Greedy` selects."""

    ids: Ids


class Greedy:
    """Takes the items of the largest losses; of equal ones any."""

    def __init__(self, capacity: int, rng: np.random.Generator) -> None:
        self._losses, self._rng = np.full(capacity, -1.0), rng  # by id

    def add(self, ids: Ids, losses: Floats) -> None:
        """Items with their first losses."""
        self._losses[ids] = losses

    def update(self, ids: Ids, losses: Floats, features: object) -> None:
        """New losses."""
        self._losses[ids] = losses

    def prepare(self, step: int) -> None:
        """Nothing to prepare."""

    def close(self) -> None:
        """Nothing to release."""

    def select(self, batch_size: int, context: object) -> Batch:
        """The items of the largest losses."""
        return Batch(np.lexsort((self._rng.random(self._losses.size), -self._losses))[:batch_size])


def updates(
    selector: Selector | Greedy, task: Walk, door: bool, batch: int, surprised: bool, rng: np.random.Generator
) -> float:
    """Updates until the values have converged, from the opening of the door where there is one; inf if given up.

    surprised: the context is that of the largest TD error, else that of any transition.
    """
    learner, size = Learner(task, rng), len(task)
    losses = np.full(size, -1.0)  # by item, last one seen
    opening = 2 * size if door else 0
    last = int(np.flatnonzero(task.reward)[0])
    items = np.concatenate([np.delete(np.arange(size), last), [last]]) if door else np.arange(size)  # by id
    selector.add(np.arange(size - door), np.ones(size - door))
    done = 0
    while done < opening + LIMIT * size:
        if door and opening <= done < opening + batch:
            selector.add(np.array([size - 1]), np.ones(1))
        selector.prepare(done)
        recalled = losses.argmax() if surprised else rng.integers(size - door)
        context = task.features[items[recalled]] if losses.max() >= 0.0 else None
        ids = selector.select(batch, context).ids
        for number in ids.tolist():
            losses[number] = learner.update(items[number])
            done += 1
            if done > opening and learner.converged:
                return done - opening
        selector.update(ids, losses[ids], task.features[items[ids]])
    return np.inf


def oracle(task: Walk, rng: np.random.Generator) -> float:
    """Updates of the transition that reduces the error most, until the values have converged."""
    learner = Learner(task, rng)
    _, items = np.unique(task.entry, return_index=True)
    items = items[~task.noisy[items]]
    entries = task.entry[items]
    for done in range(1, LIMIT * len(task)):
        old = np.take(learner.table, entries)
        new = old + STEP * np.array([learner.difference(item) for item in items])
        gains = np.square(old - task.values[entries]) - np.square(new - task.values[entries])
        learner.update(items[gains.argmax()])
        if learner.converged:
            return done
    return np.inf


def contestants() -> dict[str, tuple[str, dict[str, Any]]]:
    """All selectors of the registry and some mixtures: label -> name and options."""
    named: dict[str, tuple[str, dict[str, Any]]] = {}
    for name in SELECTORS:
        options = dict(OPTIONS.get(name, {}))
        config = selector_classes(name)[1]
        if isinstance(config, type) and issubclass(config, PrioritizedConfig):
            options = PRIORITY | options
        if "inline" in [field.name for field in fields(config)]:
            options["inline"] = True
        named[name] = (name, options)
    named["prioritized, defaults"] = ("prioritized", {})
    if "recall" in named:
        named[RANDOM] = named["recall"]
    for parts in (("uniform", "prioritized"), *(("prioritized", name) for name in named if _recalls(name))):
        components = {name: {"share": 0.5, **named[name][1]} for name in parts if name in named}
        named[f"mixture of {' and '.join(parts)}"] = ("mixture", {"components": components})
    return named


def _recalls(name: str) -> bool:
    """Whether a selector makes use of features."""
    return name in SELECTORS and bool(getattr(selector_classes(name)[1], "uses_features", False))


def interval(counts: Floats) -> tuple[float, float]:
    """Bounds of the median with 95 % confidence, by bootstrap."""
    medians = np.sort(np.sort(resampled(counts, RESAMPLES))[:, counts.size // 2])
    return float(medians[int(0.025 * RESAMPLES)]), float(medians[int(0.975 * RESAMPLES)])


def row(
    label: str, name: str, options: dict[str, Any], kind: str, states: int, seeds: int, batch: int
) -> dict[str, Any]:
    """Median updates over the seeds; `oracle` and `greedy` are no selectors."""
    begin, counts = time.perf_counter(), np.zeros(seeds)
    for seed in range(seeds):
        task = walk(states, 0.25 if kind == "tv" else 0.0, np.random.default_rng((seed, states, 0)))
        rng = np.random.default_rng((seed, states, 1))
        if name == "oracle":
            counts[seed] = oracle(task, rng)
            continue
        if name == "greedy":
            selector: Selector | Greedy = Greedy(len(task), np.random.default_rng((seed, states, 2)))
        else:
            selector = make_selector(name, len(task), (seed, states, 2), FEATURES, **options)
        counts[seed] = updates(selector, task, kind == "door", batch, label != RANDOM, rng)
        selector.close()
    low, high = interval(counts)
    seconds = (time.perf_counter() - begin) / seeds
    return {
        "median": float(np.median(counts)),
        "low": low,
        "high": high,
        "updates": counts.tolist(),
        "seconds": seconds,
    }


def table(
    kind: str = "walk", states: int = 8, seeds: int = 11, batch: int = 1, only: Sequence[str] | None = None
) -> dict[str, Any]:
    """A task with every selector. Printed."""
    size = len(walk(states, 0.25 if kind == "tv" else 0.0, np.random.default_rng(0)))
    shown = Table(
        f"{kind}: {states} states, {size:,} transitions, batch {batch}, {seeds} seeds",
        *("median:10,.0f", "95 % interval:20", "to uniform:12.3f", "seconds:9.2f"),
        width=40,
    )
    rows: dict[str, Any] = {}
    entries = {"oracle": ("oracle", {}), "greedy": ("greedy", {}), **contestants()}
    if only:
        entries = {label: entries[label] for label in entries if label in (*only, "uniform")}
    for label in sorted(entries, key=lambda label: label != "uniform"):  # uniform first
        try:
            rows[label] = found = row(label, *entries[label], kind, states, seeds, batch)
        except OptionError as error:
            print(f"{label:40}{error}")
            continue
        found["ratio"] = found["median"] / rows["uniform"]["median"]
        between = f"{found['low']:,.0f} .. {found['high']:,.0f}"
        shown.row(label, found["median"], between, found["ratio"], found["seconds"])
    return {"task": kind, "states": states, "transitions": size, "batch": batch, "seeds": seeds, "rows": rows}


def main() -> None:
    """Print the tables."""
    only = Option(help="rows to print, beside uniform", kind=str, nargs="+")
    given = parse(__doc__, TASKS, ["walk"], label="TASK", states=[8, 10], seeds=11, batch=1, only=only)
    how = given.seeds, given.batch, given.only
    write(given, [table(task, states, *how) for task in given.parts for states in given.states])


if __name__ == "__main__":
    main()
