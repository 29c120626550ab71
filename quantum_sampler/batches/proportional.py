"""Sampling without replacement with probability proportional to size: its inclusions, and systematic draws."""

import numpy as np

from quantum_sampler.selector import Floats, Ids

CERTAIN = 1.0 - 1e-9  # an inclusion above this is 1


def proportional(weights: Floats, size: int) -> Floats:
    """Inclusions min(1, c w) of weights w [M], >= 0, with the c at which they sum to `size`.

    size: at most the number of weights > 0.
    """
    inclusion = np.zeros(len(weights))
    rest, left = weights > 0.0, float(size)
    while True:
        inclusion[rest] = weights[rest] * (left / weights[rest].sum()) if left else 0.0
        certain = rest & (inclusion > CERTAIN)
        if not certain.any():
            return inclusion
        inclusion[certain] = 1.0
        rest &= ~certain
        left = float(size - np.count_nonzero(inclusion == 1.0))


def systematic(inclusion: Floats, draws: int, rng: np.random.Generator) -> Ids:
    """Sets of indices, int64 [draws, k], of inclusions [M] that sum to k: the certain ones, then others in order."""
    certain = np.flatnonzero(inclusion == 1.0)
    rest = np.flatnonzero((inclusion > 0.0) & (inclusion < 1.0))
    members = np.tile(certain, (draws, 1))
    if not rest.size:
        return members
    ends = np.cumsum(inclusion[rest])
    count = round(float(ends[-1]))
    points = (rng.random((draws, 1)) + np.arange(count)) * (ends[-1] / count)
    places = np.minimum(np.searchsorted(ends, points, side="right"), rest.size - 1)
    return np.concatenate([members, rest[places]], axis=1)
