"""What can be said of the runs of a comparison: every figure of the report, from scores by arm and environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np

from worldmodel.compare.plan import ALPHA, CLAIM_SEEDS
from worldmodel.compare.statistics import (
    Floats,
    Interval,
    Power,
    Scores,
    detectable,
    difference,
    holm,
    improvement,
    interval,
    iqm,
    permutation_test,
    power,
    runs_needed,
    scatter,
)

Verdict = Literal["helps", "hurts", "no difference seen", "no verdict"]
ArmScores = Mapping[str, Scores]  # arm -> environment -> scores [R]
WANTED = 0.8  # power


@dataclass(frozen=True)
class Tested:
    """An arm against another. adjusted: the p-value after Holm's correction over its family of m tests."""

    arm: str
    other: str
    difference: Interval
    improvement: Interval
    p: float
    adjusted: float
    verdict: Verdict
    family: int

    @property
    def alpha(self) -> float:
        """The level at which power is told: that of the first step of Holm's procedure."""
        return ALPHA / self.family


def tested(
    pairs: Sequence[tuple[str, str]],
    scores: ArmScores,
    resamples: int = 10_000,
    seed: int = 0,
    least: int = CLAIM_SEEDS,
) -> list[Tested]:
    """Test a family of pairs of arms, with Holm's correction over all of them.

    Fewer runs than `least`, in any environment of either arm, give no verdict.
    """
    found = []
    for arm, other in pairs:
        one, two = scores[arm], scores[other]
        p = permutation_test(one, two, _rng(seed, "test", arm, other), resamples)
        gap = difference(one, two, _rng(seed, "difference", arm, other), resamples=resamples)
        chance = improvement(one, two, _rng(seed, "improvement", arm, other), resamples // 5)
        found.append((arm, other, gap, chance, p))
    results = []
    for (arm, other, gap, chance, p), adjusted in zip(found, holm([row[-1] for row in found]), strict=True):
        runs = min(np.size(task) for name in (arm, other) for task in scores[name].values())
        verdict = judged(float(adjusted), gap.value) if runs >= least else "no verdict"
        results.append(Tested(arm, other, gap, chance, p, float(adjusted), verdict, len(pairs)))
    return results


def judged(adjusted: float, gap: float) -> Verdict:
    """The verdict on a difference by its adjusted p-value."""
    if adjusted > ALPHA or gap == 0.0:
        return "no difference seen"
    return "helps" if gap > 0 else "hurts"


def stated_power(test: Tested, scores: ArmScores, effect: float, seed: int = 0) -> Power:
    """The power, as the report states it, with which the test sees a true effect with the runs that there are."""
    sample = scatter(scores[test.arm], scores[test.other])
    return power(sample, effect, _runs(scores, test), _rng(seed, "power", test.arm, test.other, effect), test.alpha)


def least_difference(test: Tested, scores: ArmScores, seed: int = 0) -> float | None:
    """The least true difference that the test sees with a power of 80 %; None where no runs scatter."""
    sample = scatter(scores[test.arm], scores[test.other])
    return detectable(sample, _runs(scores, test), _rng(seed, "least", test.arm, test.other), test.alpha, WANTED)


def needed(test: Tested, scores: ArmScores, effect: float, seed: int = 0, most: int = 160) -> int | None:
    """Seeds of both arms that it takes to see a true effect with a power of 80 %; None where more than `most`."""
    sample = scatter(scores[test.arm], scores[test.other])
    return runs_needed(sample, effect, _rng(seed, "needed", test.arm, test.other, effect), test.alpha, WANTED, most)


def estimates(scores: ArmScores, resamples: int = 10_000, seed: int = 0) -> dict[str, Interval]:
    """The interquartile mean of each arm over all environments, with its interval."""
    return {arm: interval(runs, _rng(seed, "iqm", arm), resamples=resamples) for arm, runs in scores.items()}


def profile(scores: Scores, thresholds: Floats, seed: int = 0, resamples: int = 500) -> Floats:
    """The performance profile at the thresholds [K] with its pointwise 95 % interval: [3, K], value, low and high."""
    tasks = [np.asarray(task, np.float64) for _, task in sorted(scores.items())]
    rng = _rng(seed, "profile")
    shares, drawn = [], []
    for task in tasks:
        shares.append((task[:, None] > thresholds).mean(0))
        draws = task[rng.integers(task.size, size=(resamples, task.size))]
        drawn.append((draws[:, :, None] > thresholds).mean(1))
    low, high = np.percentile(np.mean(drawn, 0), [2.5, 97.5], axis=0)
    return np.stack([np.mean(shares, 0), low, high])


def band(curves: Floats, seed: int = 0, resamples: int = 500) -> Floats:
    """The interquartile mean of curves [R, T] at each time with its pointwise 95 % interval: [3, T]."""
    rows = _rng(seed, "band").integers(len(curves), size=(resamples, len(curves)))
    low, high = np.percentile(iqm(curves[rows], 1), [2.5, 97.5], axis=0)
    return np.stack([iqm(curves, 0), low, high])


def _runs(scores: ArmScores, test: Tested) -> int:
    return min(np.size(task) for name in (test.arm, test.other) for task in scores[name].values())


def _rng(seed: int, *names: object) -> np.random.Generator:
    """A generator of its own for every figure, so that none depends on which others there are."""
    return np.random.default_rng([seed, crc32("/".join(map(str, names)).encode())])
