"""What is said of two arms: verdicts, and the power that is stated, against normal theory and simulation."""

import numpy as np
import pytest
from scipy import stats

from worldmodel.compare import analysis, statistics
from worldmodel.compare.analysis import band, least_difference, needed, profile, stated_power


def arms(seed: int, effect: float, runs: int = 10) -> dict[str, dict[str, np.ndarray]]:
    draws = np.random.default_rng(seed)
    return {"a": {"task": draws.normal(effect, 1, runs)}, "b": {"task": draws.normal(0, 1, runs)}}


def test_verdicts() -> None:
    for effect, verdict in ((4.0, "helps"), (-4.0, "hurts"), (0.0, "no difference seen")):
        (test,) = analysis.tested([("a", "b")], arms(1, effect), 999)
        assert test.verdict == verdict
        assert test.difference.low <= test.difference.value <= test.difference.high
    (test,) = analysis.tested([("a", "b")], arms(1, 4.0, runs=9), 999)
    assert test.verdict == "no verdict"


def test_holm_is_over_the_family() -> None:
    scores = {**arms(2, 1.2), "c": arms(3, 0.3)["a"]}
    pairs = [("a", "b"), ("c", "b")]
    both, alone = analysis.tested(pairs, scores, 999), [analysis.tested([pair], scores, 999)[0] for pair in pairs]
    np.testing.assert_allclose([test.adjusted for test in both], statistics.holm([test.p for test in alone]))
    assert [test.p for test in both] == [test.p for test in alone]  # no figure depends on which others there are
    assert [test.alpha for test in both] == [0.025] * 2


def test_scatter_has_the_variance_of_the_runs() -> None:
    """Over many comparisons, of arms that differ, the variance of the sample is that of the runs, around both arms."""
    variances = []
    for seed in range(300):
        scores = arms(seed, 3.0, runs=5)
        sample = statistics.scatter(scores["a"], scores["b"])["task"]
        assert sample.mean() == pytest.approx(np.mean([scores["a"]["task"], scores["b"]["task"]]))
        variances.append(float(sample.var()))
    assert np.mean(variances) == pytest.approx(1.0, abs=0.1)


def test_the_stated_power_is_near_that_of_the_t_test() -> None:
    """A difference of 1.5 standard deviations: Student's test has 0.88; an interquartile mean has a little less."""
    powers = []
    for seed in range(20):
        scores = arms(100 + seed, 0.0)
        (test,) = analysis.tested([("a", "b")], scores, 99)
        powers.append(stated_power(test, scores, 1.5).power)
    student = stats.nct.sf(stats.t.ppf(0.975, 18), 18, 1.5 * np.sqrt(5))
    assert student - 0.15 < np.mean(powers) < student + 0.03


def test_what_is_needed_has_the_power() -> None:
    scores = arms(5, 0.0)
    (test,) = analysis.tested([("a", "b")], scores, 99)
    least = least_difference(test, scores)
    assert least is not None and stated_power(test, scores, least).power == pytest.approx(0.8, abs=0.08)
    seeds = needed(test, scores, 2 * least)
    assert seeds is not None and seeds < 10
    flat = {"a": {"task": [1.0] * 10}, "b": {"task": [1.0] * 10}}
    (test,) = analysis.tested([("a", "b")], flat, 99)
    assert least_difference(test, flat) is None and test.verdict == "no difference seen"


def test_a_difference_has_scipys_interval() -> None:
    one, other = np.random.default_rng(6).gamma(2, size=12), np.random.default_rng(7).gamma(3, size=14)
    ours = statistics.difference({"t": one}, {"t": other}, np.random.default_rng(8))
    theirs = stats.bootstrap(
        (one, other),
        lambda x, y, axis: stats.trim_mean(x, 0.25, axis) - stats.trim_mean(y, 0.25, axis),
        method="percentile",
        rng=np.random.default_rng(9),
    ).confidence_interval
    assert ours.value == pytest.approx(stats.trim_mean(one, 0.25) - stats.trim_mean(other, 0.25))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.06)


def test_profiles_and_bands_hold_their_values() -> None:
    scores = {"t": np.random.default_rng(10).normal(size=30)}
    thresholds = np.linspace(-2, 2, 9)
    value, low, high = profile(scores, thresholds)
    np.testing.assert_allclose(value, statistics.performance_profile(scores, thresholds))
    assert (low <= value).all() and (value <= high).all()
    curves = np.random.default_rng(11).normal(size=(12, 4)) + np.arange(4)
    middle, below, above = band(curves)
    np.testing.assert_allclose(middle, stats.trim_mean(curves, 0.25, 0))
    assert (below < middle).all() and (middle < above).all()


def test_what_rounding_leaves_of_a_difference_is_none() -> None:
    assert statistics.iqm([0.1 + 0.2] * 4) != statistics.iqm([0.3] * 4)
    found = statistics.difference({"t": [0.1 + 0.2] * 10}, {"t": [0.3] * 10}, np.random.default_rng(10), resamples=99)
    assert found == (0.0, 0.0, 0.0)
