"""Statistics against scipy, published formulas and simulation."""

from itertools import combinations
from math import comb, inf

import numpy as np
import pytest
from scipy import stats

from worldmodel.compare import statistics
from worldmodel.compare.statistics import Interval


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_iqm_drops_the_outer_quarters() -> None:
    assert statistics.iqm([0, 100, 1, 2, 3, 4, -50, 7]) == pytest.approx((1 + 2 + 3 + 4) / 4)
    values = rng().normal(size=(5, 40))
    np.testing.assert_allclose(statistics.iqm(values, 1), stats.trim_mean(values, 0.25, 1))
    np.testing.assert_allclose(statistics.iqm(values), stats.trim_mean(values, 0.25, None))


def test_the_interval_is_scipys_for_one_task() -> None:
    values = rng(1).gamma(2.0, size=30)
    ours = statistics.interval({"a": values}, rng(2), resamples=20_000)
    theirs = stats.bootstrap((values,), statistics.iqm, method="percentile", n_resamples=20_000, rng=rng(3))
    assert ours.value == pytest.approx(statistics.iqm(values))
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.02)


def test_the_bootstrap_stays_within_tasks() -> None:
    """Tasks without spread leave none, however far they are apart."""
    assert statistics.interval({"a": [1.0] * 5, "b": [9.0] * 5}, rng(), np.mean) == Interval(5.0, 5.0, 5.0)


def test_the_interval_covers_the_truth() -> None:
    hits, trials, draws = 0, 300, rng(4)
    for _ in range(trials):
        found = statistics.interval({"a": draws.normal(size=40)}, draws, np.mean, resamples=500)
        hits += found.low <= 0.0 <= found.high
    assert hits / trials == pytest.approx(0.95, abs=0.04)  # percentile intervals of 40 are slightly narrow


def test_the_interval_of_a_mean_is_students_and_welchs() -> None:
    """Of two tasks, scipy tells it of the difference of one and the other's negative."""
    one, other = rng(8).normal(3.0, 1.0, size=4), rng(9).normal(1.0, 5.0, size=7)
    low, high = stats.t.interval(0.95, 3, one.mean(), stats.sem(one))
    np.testing.assert_allclose(statistics.mean_interval({"a": one}), (one.mean(), low, high))
    theirs = stats.ttest_ind(one, -other, equal_var=False).confidence_interval(0.95)
    found = statistics.mean_interval({"a": one, "b": other})
    np.testing.assert_allclose(found, ((one.mean() + other.mean()) / 2, theirs.low / 2, theirs.high / 2))
    assert statistics.mean_interval({"a": [2.0, 2.0], "b": [4.0, 4.0, 4.0]}) == Interval(3.0, 3.0, 3.0)
    assert np.isnan(statistics.mean_interval({"a": [1.0], "b": [1.0, 2.0]})[1:]).all()


def test_profiles_weigh_tasks_alike() -> None:
    scores = {"a": [0.0, 1.0, 2.0, 3.0], "b": [1.5]}
    np.testing.assert_allclose(
        statistics.performance_profile(scores, [-1, 0, 1, 1.5, 3]), [1, (0.75 + 1) / 2, (0.5 + 1) / 2, 0.25, 0]
    )


def test_improvement_is_mann_whitneys() -> None:
    one, other = rng(5).integers(0, 6, 13), rng(6).integers(1, 7, 9)
    u = stats.mannwhitneyu(one, other).statistic
    found = statistics.improvement({"a": one}, {"a": other}, rng(7), resamples=500)
    assert found.value == pytest.approx(u / (13 * 9))
    assert found.low <= found.value <= found.high
    assert statistics.probability_of_improvement({"a": one}, {"a": one}) == 0.5


def test_improvement_resamples_within_tasks_in_their_order() -> None:
    """So the same seed makes the same interval as one draw after the other does."""
    scores = {"c": rng(1).normal(size=5), "a": rng(2).normal(size=7)}
    others = {"a": rng(3).normal(size=6), "c": rng(4).normal(size=5)}
    draw, chances = rng(5), []
    for _ in range(300):
        one, other = ({name: draw.choice(task, task.size) for name, task in both.items()} for both in (scores, others))
        wins = [stats.mannwhitneyu(one[name], other[name]).statistic for name in one]
        chances.append(np.mean([wins[0] / (5 * 5), wins[1] / (7 * 6)]))
    found = statistics.improvement(scores, others, rng(5), resamples=300)
    np.testing.assert_allclose([found.low, found.high], np.percentile(chances, [2.5, 97.5]), rtol=1e-12)


def test_sample_complexity() -> None:
    steps, nan = [10, 20, 30], float("nan")
    curves = [[0.0, 5.0, 1.0], [nan, 1.0, 5.0], [5.0, 5.0, 5.0], [0.0, nan, 0.0]]
    found = [statistics.sample_complexity(steps, curves, 5.0, share) for share in (0.25, 0.5, 0.75, 1.0)]
    assert found == [10, 20, 30, inf]


def test_the_permutation_test_is_scipys() -> None:
    one, other = rng(8).normal(0.8, size=10), rng(9).normal(size=12)
    ours = statistics.permutation_test({"a": one}, {"a": other}, rng(10), resamples=20_000)
    theirs = stats.permutation_test(
        (one, other), lambda x, y: abs(statistics.iqm(x) - statistics.iqm(y)), alternative="greater", rng=rng(11)
    )
    assert ours == pytest.approx(theirs.pvalue, abs=0.01)


def test_the_permutation_test_against_all_permutations() -> None:
    """Of the splits of 8 runs, only the one found and its mirror are as extreme."""
    p = statistics.permutation_test({"a": [5, 6, 7, 8]}, {"a": [1, 2, 3, 4]}, rng(), resamples=50_000)
    found, extreme = 6.5 - 2.5, 0
    values = np.array([5, 6, 7, 8, 1, 2, 3, 4.0])
    for chosen in combinations(range(8), 4):
        rest = [i for i in range(8) if i not in chosen]
        extreme += abs(statistics.iqm(values[list(chosen)]) - statistics.iqm(values[rest])) >= found - 1e-9
    assert p == pytest.approx(extreme / comb(8, 4), abs=0.005)


def test_identical_arms_are_told_apart_at_the_stated_rate() -> None:
    draws, trials = rng(12), 400
    p = [
        statistics.permutation_test(
            {"a": draws.exponential(size=10), "b": draws.normal(9, 4, size=10)},
            {"a": draws.exponential(size=10), "b": draws.normal(9, 4, size=10)},
            draws,
            resamples=199,
        )
        for _ in range(trials)
    ]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_runs_at_the_ceiling_are_no_evidence() -> None:
    assert statistics.permutation_test({"a": [500.0] * 10}, {"a": [500.0] * 10}, rng(), 99) == 1.0


def test_holm() -> None:
    """The example of Holm's paper in adjusted form: sorted p times what is left, never falling."""
    np.testing.assert_allclose(statistics.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(statistics.holm([0.9, 0.8]), [1.0, 1.0])


def test_power_is_found_again_by_simulation() -> None:
    """Of normal scores, against the power of Student's test, to which a permutation test of trimmed means is near."""
    scores = {"a": stats.norm.ppf((np.arange(2000) + 0.5) / 2000)}
    found = statistics.power(scores, 1.2, 12, rng(13))
    student = stats.nct.sf(stats.t.ppf(0.975, 22), 22, 1.2 * np.sqrt(6))
    assert student - 0.15 < found.power < student + 0.03  # an interquartile mean has 84 % of the mean's efficiency
    assert statistics.power(scores, 0.0, 10, rng(14)).power == pytest.approx(0.05, abs=0.03)


@pytest.mark.slow
def test_power_at_the_level_of_one_test_of_many() -> None:
    """0.05 / 20, which 199 permutations could never reach: the power of Student's test at that level bounds it."""
    scores = {"a": stats.norm.ppf((np.arange(2000) + 0.5) / 2000)}
    student = stats.nct.sf(stats.t.ppf(1 - 0.00125, 22), 22, 2.0 * np.sqrt(6))
    assert student - 0.15 < statistics.power(scores, 2.0, 12, rng(30), alpha=0.05 / 20).power < student + 0.03
    assert statistics.power(scores, 5.0, 12, rng(31), alpha=0.05 / 20).power == 1.0


def test_power_of_tasks_at_other_levels() -> None:
    """A task that all runs solve, one that none does and one between: what the test finds, counted, is what is told."""
    draws = rng(32)
    middles, widths, effect = {"low": 0.0, "middle": 0.5, "high": 1.0}, {"low": 0.02, "middle": 0.2, "high": 0.02}, 0.12
    found, told = [], []
    for number in range(200):
        one, other = (
            {name: draws.normal(mean + shift, widths[name], 10) for name, mean in middles.items()}
            for shift in (effect, 0.0)
        )
        found.append(statistics.permutation_test(one, other, draws, 199) <= 0.05)
        if number % 10 == 0:
            told.append(statistics.power(statistics.scatter(one, other), effect, 10, draws, trials=200).power)
    assert np.mean(told) == pytest.approx(np.mean(found), abs=0.1)


def test_runs_needed_have_the_power() -> None:
    scores = {"a": rng(15).normal(size=200)}
    needed = statistics.runs_needed(scores, 1.0, rng(16))
    assert needed is not None and 15 <= needed <= 30
    assert statistics.power(scores, 1.0, needed, rng(17)).power == pytest.approx(0.8, abs=0.08)
    assert statistics.runs_needed(scores, 0.01, rng(18), most=20) is None


@pytest.mark.parametrize("scores", [{}, {"a": []}, {"a": [1.0, float("nan")]}, {"a": [[1.0]]}])
def test_what_is_refused(scores: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="finite score"):
        statistics.interval(scores, rng())


def test_arms_with_other_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="other tasks"):
        statistics.permutation_test({"a": [1.0]}, {"b": [1.0]}, rng())
