"""Statistics of runs that a sceptical reviewer accepts (Agarwal et al. 2021, arXiv 2108.13264).

`Scores` are the runs of an arm by task: task -> scores [R], of which each task may have another number. Runs are
exchangeable within a task alone, so resampling and permuting stay within tasks. Shapes: R runs, P resamples, T times.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Scores = Mapping[str, ArrayLike]
RESAMPLES = 10_000
SEARCHING = 200  # trials of a power that others are compared with
AT_ONCE = 1 << 19  # scores that are permuted at a time, about
ROUNDING = 1e-12  # differences of scores that are no more than that are none


class Interval(NamedTuple):
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float


class Power(NamedTuple):
    """The chance to see a difference with so many runs of each task in both arms, and its standard error."""

    runs: int
    power: float
    error: float


def iqm(scores: ArrayLike, axis: int | None = None) -> Any:
    """The interquartile mean: of what is left without the lowest and the highest quarter (whole runs, rounded down)."""
    values = np.sort(scores, axis)
    along = values.shape[-1 if axis is None else axis]
    return np.take(values, range(along // 4, along - along // 4), -1 if axis is None else axis).mean(axis)


def interval(
    scores: Scores, rng: np.random.Generator, statistic: Callable[..., Any] = iqm, resamples: int = RESAMPLES
) -> Interval:
    """A statistic of the runs of all tasks together, with its percentile interval by the stratified bootstrap.

    statistic: of an array along `axis`. Runs are drawn with replacement within their tasks.
    """
    tasks = _arrays(scores)
    drawn = [task[rng.integers(task.size, size=(resamples, task.size))] for task in tasks]
    low, high = np.percentile(statistic(np.concatenate(drawn, 1), axis=1), [2.5, 97.5])
    return Interval(float(statistic(np.concatenate(tasks), axis=0)), float(low), float(high))


def mean_interval(scores: Scores) -> Interval:
    """The mean of the tasks' means, with its 95 % interval by Student's t.

    A percentile interval of two or three runs is too short, so that few runs are told of by this one. Degrees of
    freedom are Satterthwaite's (1946). The interval is NaN where a task has one run.
    """
    from scipy.special import stdtrit

    tasks = _arrays(scores)
    value = float(np.mean([task.mean() for task in tasks]))
    if min(task.size for task in tasks) < 2:
        return Interval(value, float("nan"), float("nan"))
    squares = np.array([task.var(ddof=1) / task.size for task in tasks])
    if not squares.any():
        return Interval(value, value, value)
    freedom = squares.sum() ** 2 / (squares**2 / [task.size - 1 for task in tasks]).sum()
    half = float(stdtrit(freedom, 0.975) * np.sqrt(squares.sum()) / len(tasks))
    return Interval(value, value - half, value + half)


def difference(
    scores: Scores,
    others: Scores,
    rng: np.random.Generator,
    statistic: Callable[..., Any] = iqm,
    resamples: int = RESAMPLES,
) -> Interval:
    """By how much the statistic of the scores exceeds that of the others, with its interval as in `interval`."""
    _check_tasks(scores, others)
    both = _arrays(scores), _arrays(others)
    drawn = [[task[rng.integers(task.size, size=(resamples, task.size))] for task in tasks] for tasks in both]
    one, other = (statistic(np.concatenate(tasks, 1), axis=1) for tasks in drawn)
    low, high = np.percentile(one - other, [2.5, 97.5])
    value = statistic(np.concatenate(both[0]), axis=0) - statistic(np.concatenate(both[1]), axis=0)
    return Interval(*(float(found) if abs(found) > ROUNDING else 0.0 for found in (value, low, high)))


def performance_profile(scores: Scores, thresholds: ArrayLike) -> Floats:
    """The share of runs above each threshold [K], every task alike: [K] (equation 2 there)."""
    shares = [(task[:, None] > np.asarray(thresholds)).mean(0) for task in _arrays(scores)]
    return np.asarray(np.mean(shares, 0))


def probability_of_improvement(scores: Scores, others: Scores) -> float:
    """The chance that a run scores more than one of the others, ties half, every task alike (Mann-Whitney)."""
    _check_tasks(scores, others)
    return float(_chance(_arrays(scores), _arrays(others)))


def improvement(scores: Scores, others: Scores, rng: np.random.Generator, resamples: int = 2000) -> Interval:
    """`probability_of_improvement` with its interval by the stratified bootstrap."""
    value = probability_of_improvement(scores, others)
    runs = {(arm, name): np.asarray(both[name]) for arm, both in enumerate((scores, others)) for name in both}
    draws = [[task[rng.integers(task.size, size=task.size)] for task in runs.values()] for _ in range(resamples)]
    drawn = dict(zip(runs, map(np.stack, zip(*draws, strict=True)), strict=True))
    one, other = ([drawn[arm, name] for name in sorted(scores)] for arm in (0, 1))
    low, high = np.percentile(_chance(one, other), [2.5, 97.5])
    return Interval(value, float(low), float(high))


def _chance(scores: Sequence[Floats], others: Sequence[Floats]) -> Floats:
    """The chance that a run [..., R] scores more than one of the others, ties half, mean of the tasks: [...]."""
    chances = []
    for one, other in zip(scores, others, strict=True):
        mine, theirs = one[..., :, None], other[..., None, :]
        chances.append((mine > theirs).mean((-2, -1)) + 0.5 * (mine == theirs).mean((-2, -1)))
    return np.asarray(np.mean(chances, 0))


def sample_complexity(steps: ArrayLike, curves: ArrayLike, threshold: float, share: float = 0.5) -> float:
    """The first of `steps` [T] by which a share of the runs has reached a threshold; inf where that never happens.

    curves [R, T]: scores of R runs; NaN where a run was not evaluated. A run that has reached it once counts for good.
    """
    reached = np.logical_or.accumulate(np.asarray(curves) >= threshold, 1).mean(0)
    enough = np.flatnonzero(reached >= share - 1e-12)
    return float(np.asarray(steps)[enough[0]]) if enough.size else float("inf")


def permutation_test(scores: Scores, others: Scores, rng: np.random.Generator, resamples: int = RESAMPLES) -> float:
    """Two-sided p-value of the difference of the interquartile means, under permutation of the arms within tasks.

    Its false positives are at most as many as it says, whatever the distribution of the scores. At least 1 / (P + 1).
    """
    _check_tasks(scores, others)
    pairs = list(zip(_arrays(scores), _arrays(others), strict=True))
    return float(_p_values([one[None] for one, _ in pairs], [other[None] for _, other in pairs], rng, resamples)[0])


def holm(p_values: Sequence[float]) -> Floats:
    """Adjusted p-values: below alpha where Holm's step-down procedure (1979) rejects at that family-wise level."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    return np.asarray(np.minimum(1.0, adjusted)[np.argsort(order)])


def power(
    scores: Scores,
    effect: float,
    runs: int,
    rng: np.random.Generator,
    alpha: float = 0.05,
    trials: int = 400,
) -> Power:
    """The chance that `permutation_test` finds a true `effect`, in every task, between two arms of `runs` runs of each.

    Both arms are drawn with replacement from the runs that are there, and one of them is shifted by the effect. There
    are as many permutations as make ten of them the most that may exceed what is found at the level alpha.
    """
    tasks = _arrays(scores)
    one, other = ([task[rng.integers(task.size, size=(trials, runs))] for task in tasks] for _ in range(2))
    p = _p_values([task + effect for task in one], other, rng, ceil(10 / alpha) - 1)
    share = float((p <= alpha).mean())
    return Power(runs, share, float(np.sqrt(share * (1 - share) / trials)))


def scatter(scores: Scores, others: Scores) -> dict[str, Floats]:
    """How runs scatter around the mean of their arm, by task: a sample for `power` that holds both arms.

    Widened by sqrt(R / (R - 2)) for the two means that were estimated from the R runs, where there are more than two.
    Around the mean of both arms, since tasks at other levels are trimmed away by the interquartile mean of them all.
    """
    _check_tasks(scores, others)
    scattered = {}
    for name, one, other in zip(sorted(scores), _arrays(scores), _arrays(others), strict=True):
        runs = one.size + other.size
        away = np.concatenate([one - one.mean(), other - other.mean()])
        middle = (one.mean() + other.mean()) / 2
        scattered[name] = middle + (away * np.sqrt(runs / (runs - 2)) if runs > 2 else away)
    return scattered


def detectable(
    scores: Scores, runs: int, rng: np.random.Generator, alpha: float = 0.05, wanted: float = 0.8
) -> float | None:
    """The least difference that so many runs of every task in both arms see with the wanted power, to 4 %.

    None where the runs do not scatter at all, which says nothing of others, and where there are too few to see any.
    """
    tasks = _arrays(scores)
    high = max(float(task.std()) for task in tasks)
    if high == 0.0 or power(scores, 64 * (high + max(map(np.ptp, tasks))), runs, rng, alpha, SEARCHING).power < wanted:
        return None
    low = 0.0
    while power(scores, high, runs, rng, alpha, SEARCHING).power < wanted:
        low, high = high, 2 * high
    while high - low > 0.04 * high:
        middle = (low + high) / 2
        low, high = (
            (low, middle) if power(scores, middle, runs, rng, alpha, SEARCHING).power >= wanted else (middle, high)
        )
    return high


def runs_needed(
    scores: Scores,
    effect: float,
    rng: np.random.Generator,
    alpha: float = 0.05,
    wanted: float = 0.8,
    most: int = 320,
) -> int | None:
    """The fewest runs of every task in both arms that see `effect` with the wanted power; None beyond `most`.

    Looked for by doubling, then by bisection; every power is estimated as `power` does, so it is right up to its error.
    """
    low, high = 3, 4  # with 3 runs of one task in each arm, no split is rarer than 0.1
    while power(scores, effect, high, rng, alpha, SEARCHING).power < wanted:
        low, high = high, 2 * high
        if high > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if power(scores, effect, middle, rng, alpha, SEARCHING).power >= wanted else (middle, high)
        )
    return high


def _p_values(scores: list[Floats], others: list[Floats], rng: np.random.Generator, resamples: int) -> Floats:
    """p-values [B] of B pairs of arms, by the same permutations; scores and others: of every task [B, R]."""
    together = [np.concatenate(pair, 1) for pair in zip(scores, others, strict=True)]
    splits = [task.shape[1] for task in scores]

    def difference(tasks: list[Floats]) -> Floats:
        first = np.concatenate([task[..., :split] for task, split in zip(tasks, splits, strict=True)], -1)
        second = np.concatenate([task[..., split:] for task, split in zip(tasks, splits, strict=True)], -1)
        return np.asarray(np.abs(iqm(first, -1) - iqm(second, -1)))

    found = difference(together)
    exceeded = np.zeros(found.size)
    done, most = 0, max(1, AT_ONCE // sum(task.size for task in together))
    while done < resamples:
        count = min(most, resamples - done)
        orders = [rng.permuted(np.tile(np.arange(task.shape[1]), (count, 1)), axis=1) for task in together]
        shuffled = difference([task[:, order] for task, order in zip(together, orders, strict=True)])  # [B, count]
        exceeded += (shuffled >= found[:, None] * (1 - 1e-9) - ROUNDING).sum(1)
        done += count
    return (1 + exceeded) / (resamples + 1)


def _arrays(scores: Scores) -> list[Floats]:
    """The scores of the tasks, by name. Raises ValueError where there are none, or some are not finite."""
    tasks = [np.asarray(scores[name], np.float64) for name in sorted(scores)]
    if not tasks or not all(task.ndim == 1 and task.size and np.isfinite(task).all() for task in tasks):
        raise ValueError("scores: at least one task is accepted, each with a list of at least one finite score")
    return tasks


def _check_tasks(scores: Scores, others: Scores) -> None:
    if set(scores) != set(others):
        raise ValueError(f"the arms have other tasks: {sorted(scores)} and {sorted(others)}; the same are accepted")
