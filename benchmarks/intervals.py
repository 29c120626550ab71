"""Intervals of 95 % that the benchmarks of update directions print."""

from typing import Any

import numpy as np
from scipy.stats import binomtest


def share(hits: list[bool]) -> dict[str, Any]:
    """Successes with Wilson's interval."""
    found = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    return {"n": len(hits), "share": float(np.mean(hits)), "interval": [float(found.low), float(found.high)]}


def mean(values: list[float]) -> dict[str, Any]:
    """Mean over seeds with a bootstrap interval."""
    array = np.asarray(values)
    draws = array[np.random.default_rng(0).integers(len(array), size=(5000, len(array)))].mean(1)
    return {"n": len(array), "mean": float(array.mean()), "interval": np.percentile(draws, [2.5, 97.5]).tolist()}
