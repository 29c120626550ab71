"""Error against queries of sums that the tree does not know: `python benchmarks/replay_amplitude.py [--json PATH]`.

Maximum-likelihood amplitude estimation (exactly simulated), Monte Carlo and stratified sampling estimate the mean fresh
loss of N items, a partition ratio and the effective sample size, all with the same queries: whole schedules of 32
measurements of the powers 0, 1, 2, 4, ... Losses are log-normal (sigma 1), stored ones are fresh ones off by a factor
e^(normal / 2). Slopes of log error on log queries: of the median and of the root mean square over the repetitions; the
median over sets of losses. The simulation of amplitude estimation takes N probes, whatever its queries; Monte Carlo
draws with replacement; whoever makes N classical queries knows the sum exactly ("census").
"""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np

from benchmarks.harness import Table, parse, slope, write
from quantum_sampler.amplitude.estimation import (
    SHOTS,
    Estimate,
    Method,
    effective_sample_size,
    estimate_mean,
    partition_ratio,
)
from quantum_sampler.selector import Floats, Ids

SUMS = ("mean fresh loss", "partition ratio", "effective sample size")


def budgets(powers: int) -> list[int]:
    """Queries of the whole schedules of 2 to `powers` powers."""
    m = [0, *(2**k for k in range(powers - 1))]
    return [SHOTS * sum(2 * power + 1 for power in m[:used]) for used in range(2, powers + 1)]


def problem(name: str, size: int, rng: np.random.Generator) -> tuple[float, Callable[[int, Method], Estimate]]:
    """A sum over new data: its value, and how it is estimated with so many queries."""
    fresh: Floats = rng.lognormal(0.0, 1.0, size)
    stored = fresh * np.exp(rng.normal(0.0, 0.5, size))

    def values(indices: Ids) -> Floats:
        return np.asarray(fresh[indices])

    if name == "mean fresh loss":
        return float(fresh.mean()), lambda q, method: estimate_mean(values, size, rng, q, method, order=stored)
    if name == "partition ratio":
        return float(fresh.sum() / stored.sum()), lambda q, method: partition_ratio(values, stored, rng, q, method)
    exact = float(fresh.sum() ** 2 / (fresh**2).sum())
    return exact, lambda q, method: effective_sample_size(values, size, rng, q, method, weights=stored)


def table(name: str, queries: list[int], size: int, data: int, repetitions: int, seed: int) -> dict[str, Any]:
    """Relative errors of each method for each number of queries, their slopes, and coverage of 95 % intervals."""
    shown = Table(
        f"{name}, N = {size:,}, {data} sets of losses x {repetitions} repetitions: median relative error, %",
        *(f"{q:,}:8.3f" for q in queries),
        *("slope:9.3f", "rms:9.3f", "95 %:8.3f", "probes:8,"),
        label="queries",
        width=14,
    )
    rows: dict[str, Any] = {}
    for method in get_args(Method):
        errors = np.empty((data, len(queries), repetitions))
        inside, probes = np.empty(errors.shape, bool), 0
        for each in range(data):
            exact, estimate = problem(name, size, np.random.default_rng((seed, each)))
            for place, q in enumerate(queries):
                found = [estimate(q, method) for _ in range(repetitions)]
                errors[each, place] = [abs(one.value / exact - 1) for one in found]
                inside[each, place] = [abs(one.value - exact) <= 1.96 * one.standard_error for one in found]
                probes = max(one.probes for one in found)
        medians, rms = np.median(errors, axis=2), np.sqrt((errors**2).mean(2))
        slopes = [slope(queries, row) for row in medians]
        rms_slopes = [slope(queries, row) for row in rms]
        rows[method] = {
            "errors": np.median(medians, axis=0).tolist(),
            "rms": np.median(rms, axis=0).tolist(),
            "slope": float(np.median(slopes)),
            "slope_range": np.percentile(slopes, [2.5, 97.5]).tolist(),
            "rms_slope": float(np.median(rms_slopes)),
            "coverage": float(inside.mean()),
            "probes": probes,
        }
        row = rows[method]
        errors_shown = (100 * error for error in row["errors"])
        shown.row(method, *errors_shown, row["slope"], row["rms_slope"], row["coverage"], probes)
    shown.row("census", *("0" if q >= size else "-" for q in queries), *[None] * 4)
    return {"sum": name, "queries": queries, "items": size, "data": data, "repetitions": repetitions, "methods": rows}


def main() -> None:
    """Print the tables."""
    given = parse(
        __doc__,
        items=(15_625, "items of the replay; 1M steps are so many"),
        powers=9,
        data=(9, "sets of losses"),
        repetitions=100,
        seed=0,
    )
    how = budgets(given.powers), given.items, given.data, given.repetitions, given.seed
    write(given, [table(name, *how) for name in SUMS])


if __name__ == "__main__":
    main()
