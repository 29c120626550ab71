"""Intervals of 95 % that the benchmarks of update directions print."""

from typing import Any

import numpy as np


def share(hits: list[bool]) -> dict[str, Any]:
    """Successes with Wilson's interval."""
    n, p, z = len(hits), float(np.mean(hits)), 1.96
    middle, width = p + z * z / (2 * n), z * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    return {"n": n, "share": p, "interval": [(middle + s * width) / (1 + z * z / n) for s in (-1, 1)]}


def mean(values: list[float]) -> dict[str, Any]:
    """Mean over seeds with a bootstrap interval."""
    array = np.asarray(values)
    draws = array[np.random.default_rng(0).integers(len(array), size=(5000, len(array)))].mean(1)
    return {"n": len(array), "mean": float(array.mean()), "interval": np.percentile(draws, [2.5, 97.5]).tolist()}
