"""Sums that no sum tree knows, by maximum-likelihood amplitude estimation (Suzuki et al. 2020, arXiv 1904.10246).

A query is one evaluation of a value: for fresh losses, one call of `probe` on one item. On a quantum computer the state
sum_i sqrt(p_i) |i> (sqrt(1 - f_i) |0> + sqrt(f_i) |1>) has |1> with probability a = sum_i p_i f_i = sin^2(theta). After
m Grover iterations, which with the preparation take 2m + 1 queries, it is sin^2((2m + 1) theta). To simulate these
measurements exactly one has to know a, hence all the values: N probes, which stand beside the queries in every
`Estimate`. Whoever has made them knows the sum: the simulation saves nothing, and N queries or more never pay.

Shapes: N items, n draws.
"""

from collections.abc import Callable
from math import asin, cos, inf, sin, sqrt
from typing import Literal, NamedTuple

import numpy as np

from quantum_sampler.selector import Floats, Ids, OptionError, Probe

Method = Literal["amplitude", "monte_carlo", "stratified"]
Values = Callable[[Ids], Floats]
"""The values [n], finite and >= 0, of the items with indices int64 [n] in [0, N)."""
SHOTS = 32  # measurements of each power, at least
CELLS = 16  # of the search, for every quarter period of the highest power so far
DEPTH = 30.0  # log-likelihood below the best at which a place of the search is given up


class Estimate(NamedTuple):
    """A value and its standard error. queries: evaluations that the method takes, on a quantum computer where it is
    quantum. probes: items that were evaluated here.
    """

    value: float
    standard_error: float
    queries: int
    probes: int


def estimate_mean(
    values: Values,
    size: int,
    rng: np.random.Generator,
    queries: int,
    method: Method = "amplitude",
    *,
    probabilities: Floats | None = None,
    order: Floats | None = None,
    bound: float | None = None,
) -> Estimate:
    """The mean sum_i p_i values_i of `size` items by so many queries.

    amplitude: see above; the state's preparation from p is not counted. monte_carlo: independent draws from p.
    stratified: two draws from each of n / 2 parts of equal probability of the items in the order of `order` [N], for
    example their stored losses; by default that of their indices. probabilities: p [N], by default 1/N. bound: at least
    the largest value, larger ones count as it; by default the largest, which on a quantum computer would have to be
    known or found (another O(sqrt N) queries, Duerr and Hoyer 1996).

    Raises OptionError for queries < 1 or another method, and ValueError for values that are not finite and >= 0.
    """
    if method == "amplitude":
        _check_queries(queries)
        known = _checked(values(np.arange(size)))
        mean = float(known.mean() if probabilities is None else probabilities @ known)
        top = float(known.max()) if bound is None else bound
        if not top:
            return Estimate(0.0, 0.0, queries, size)
        if bound is not None and known.max() > bound:
            mean = float(np.average(np.minimum(known, bound), weights=probabilities))
        a, error = estimate_amplitude(min(1.0, mean / top), queries, rng)
        return Estimate(top * a, top * error, queries, size)
    indices, parts = _drawn(size, rng, queries, method, probabilities, order)
    drawn, probes = _evaluated(values, indices)
    return Estimate(*_mean(drawn, parts), queries, probes)


def partition_ratio(
    values: Values,
    weights: Floats,
    rng: np.random.Generator,
    queries: int,
    method: Method = "amplitude",
    *,
    bound: float | None = None,
) -> Estimate:
    """sum_i values_i / sum_i w_i, where the weights w [N], > 0, are known, as those in a sum tree: Z' / Z.

    The mean of values / w over items drawn by w, so it is exact where both are proportional. bound: of values / w.
    """
    total = weights.sum()

    def ratios(indices: Ids) -> Floats:
        return values(indices) / weights[indices]

    p = weights / total
    return estimate_mean(ratios, weights.size, rng, queries, method, probabilities=p, order=weights, bound=bound)


def effective_sample_size(
    values: Values,
    size: int,
    rng: np.random.Generator,
    queries: int,
    method: Method = "amplitude",
    *,
    weights: Floats | None = None,
) -> Estimate:
    """(sum_i v_i)^2 / sum_i v_i^2 of values v: how many equal weights are worth these.

    weights: known ones w [N], > 0, that are nearly proportional to the values, as those in a sum tree; by default all
    alike. Amplitude estimation takes half of the queries for each of sum_i v_i / sum_i w_i, from a state prepared by w,
    and sum_i v_i^2 / sum_i w_i^2, by w^2; the others have both sums from the same draws by w. It is within 1..N for
    any values, so estimates are kept there; 0 where all values found are 0. The error is that of first order.

    Raises OptionError for another method, or fewer queries than 1, by amplitude estimation 2, and ValueError for values
    that are not finite and >= 0.
    """
    known = np.ones(size) if weights is None else weights
    probes = size
    if method == "amplitude":
        if queries < 2:
            raise OptionError(f"queries={queries}: at least 2 are accepted")
        exact = _checked(values(np.arange(size)))
        one = partition_ratio(lambda i: exact[i], known, rng, queries - queries // 2)
        two = partition_ratio(lambda i: exact[i] ** 2, known**2, rng, queries // 2)
        if not (one.value > 0.0 and two.value > 0.0):
            return Estimate(0.0 if not exact.any() else float(size if one.value else 1), inf, queries, size)
        found = float((known.sum() * one.value) ** 2 / ((known**2).sum() * two.value))
        error = found * sqrt((2 * one.standard_error / one.value) ** 2 + (two.standard_error / two.value) ** 2)
    else:
        indices, parts = _drawn(size, rng, queries, method, known / known.sum(), weights)
        drawn, probes = _evaluated(values, indices)
        ratios = drawn / known[indices]
        first, second = _mean(ratios, parts)[0], _mean(ratios * drawn, parts)[0]
        if not second > 0.0:
            return Estimate(0.0, inf, queries, probes)
        found = float(known.sum() * first**2 / second)
        error = _mean(found * (2 * ratios / first - ratios * drawn / second), parts)[1]
    return Estimate(min(float(size), max(1.0, found)), error, queries, probes)


def probed(probe: Probe, ids: Ids, batch: int = 64) -> Values:
    """Fresh losses as values, at most `batch` items a call of the probe."""

    def values(indices: Ids) -> Floats:
        chosen = ids[indices]
        parts = [np.asarray(probe(chosen[i : i + batch]), np.float64) for i in range(0, chosen.size, batch)]
        return np.concatenate(parts)

    return values


def estimate_amplitude(a: float, queries: int, rng: np.random.Generator) -> tuple[float, float]:
    """An estimate of the amplitude a in [0, 1] from simulated measurements, and its standard error.

    The error is that of the Fisher information 4 sum_k N_k (2 m_k + 1)^2 of theta (equation 12 there, for a), to second
    order, so that it does not vanish at the ends.
    """
    m, counts = powers(queries)
    hits = rng.binomial(counts, np.sin((2 * m + 1) * asin(sqrt(a))) ** 2)
    theta = likeliest(m, counts, hits)
    variance = 1.0 / _information(m, counts)
    return sin(theta) ** 2, sqrt(sin(2 * theta) ** 2 * variance + 2 * cos(2 * theta) ** 2 * variance**2)


def powers(queries: int, shots: int = SHOTS) -> tuple[Ids, Ids]:
    """Grover powers m = 0, 1, 2, 4, ... [K] and the measurements of each [K], for exactly so many queries.

    As many powers as can have `shots` measurements each; what is left makes more of all, then of power 0.
    """
    _check_queries(queries)
    m: Ids = np.zeros(1, np.int64)
    while True:
        longer = np.append(m, max(1, 2 * m[-1]))
        if shots * int((2 * longer + 1).sum()) > queries:
            break
        m = longer
    cost = int((2 * m + 1).sum())
    counts = np.full(m.size, queries // cost)
    counts[0] += queries % cost
    return m, counts


def likeliest(m: Ids, counts: Ids, hits: Ids) -> float:
    """The theta in [0, pi/2] of greatest likelihood of `hits` among `counts` measurements, after m iterations each.

    The likelihood has many maxima, but few places are left by the first powers, and only those are searched more
    finely, power by power. A place is dropped when the middle of its cell lies so far below the best that its maximum,
    by the likelihood's curvature, cannot reach it.
    """
    lower: Floats = np.zeros(1)
    likelihood: Floats = np.zeros(1)
    width = np.pi / 2
    for used in range(1, m.size + 1):
        part = m[:used], counts[:used], hits[:used]
        fine = np.pi / 2 / (CELLS * (2 * int(m[used - 1]) + 1))
        lower, width = _split(lower, width, max(1, round(width / fine)))
        likelihood = _log_likelihood(lower + width / 2, *part)
        drop = DEPTH + _information(*part[:2]) * width**2 / 2
        lower = lower[likelihood >= likelihood.max() - drop]
    information = _information(m, counts)
    while width > 1e-4 / sqrt(information):
        lower, width = _split(lower, width, 4)
        likelihood = _log_likelihood(lower + width / 2, m, counts, hits)
        keep = likelihood >= likelihood.max() - information * width**2 / 2
        lower, likelihood = lower[keep], likelihood[keep]
    return float(lower[likelihood.argmax()] + width / 2)


def _split(lower: Floats, width: float, parts: int) -> tuple[Floats, float]:
    """Cells of `width`, known by their lower ends, in parts."""
    return (lower[:, None] + width / parts * np.arange(parts)).ravel(), width / parts


def _log_likelihood(theta: Floats, m: Ids, counts: Ids, hits: Ids) -> Floats:
    chance = np.clip(np.sin(np.multiply.outer(theta, 2 * m + 1)) ** 2, 1e-300, None)
    other = np.clip(1.0 - chance, 1e-16, None)
    return np.asarray(np.log(chance) @ hits + np.log(other) @ (counts - hits))


def _information(m: Ids, counts: Ids) -> float:
    """Fisher information of theta."""
    return float(4.0 * (counts * (2.0 * m + 1.0) ** 2).sum())


def _drawn(
    size: int, rng: np.random.Generator, queries: int, method: str, probabilities: Floats | None, order: Floats | None
) -> tuple[Ids, int]:
    """Indices [n] of n draws, and how many strata they come from: draw k is from stratum k * parts // n."""
    _check_queries(queries)
    if method not in ("monte_carlo", "stratified"):
        raise OptionError(f"method={method}: amplitude, monte_carlo, stratified are accepted")
    parts = max(1, queries // 2) if method == "stratified" else 1
    part = np.arange(queries) * parts // queries
    places = (part + rng.random(queries)) / parts
    ranked = np.arange(size) if order is None else np.argsort(order, kind="stable")
    if probabilities is None:
        chosen = np.minimum((places * size).astype(np.int64), size - 1)
    else:
        bounds = np.cumsum(probabilities[ranked])
        chosen = bounds[:-1].searchsorted(places * bounds[-1], side="right")
    return ranked[chosen], parts


def _evaluated(values: Values, indices: Ids) -> tuple[Floats, int]:
    """The values of draws, and how many different items that took."""
    unique, places = np.unique(indices, return_inverse=True)
    return _checked(values(unique))[places], unique.size


def _mean(drawn: Floats, parts: int) -> tuple[float, float]:
    """The mean of draws from equally likely strata, and its standard error; inf for a single draw."""
    part = np.arange(drawn.size) * parts // drawn.size
    counts = np.bincount(part, minlength=parts)
    means = np.bincount(part, drawn, parts) / counts
    if counts.min() < 2:
        return float(means.mean()), inf
    variances = np.bincount(part, (drawn - means[part]) ** 2, parts) / (counts - 1) / counts
    return float(means.mean()), sqrt(variances.sum()) / parts


def _check_queries(queries: int) -> None:
    if queries < 1:
        raise OptionError(f"queries={queries}: at least 1 is accepted")


def _checked(values: Floats) -> Floats:
    if not (np.isfinite(values).all() and (values >= 0.0).all()):
        raise ValueError("the values must be finite and >= 0")
    return values
