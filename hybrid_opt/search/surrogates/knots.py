"""The bits that a surrogate without a kernel learns on."""

import numpy as np

from hybrid_opt.search.surrogate import Floats, Levels, Observations, membership


def knots(observations: Observations, most: int) -> list[Floats]:
    """Of each parameter, the positions that get a bit: all that were observed where those are few.

    Of an ordered parameter with more than `most` of them, both ends and even quantiles of the better half's positions:
    the bits gather where the search does.
    """
    good = observations.values <= np.median(observations.values)
    chosen = []
    for i, ordered in enumerate(observations.ordered):
        column = observations.positions[:, i]
        there = np.isfinite(column)
        grid = np.unique(column[there])
        if ordered and len(grid) > most:
            better = column[there & good] if (there & good).any() else grid
            inner = np.quantile(better, np.linspace(0, 1, most - 2), method="nearest")
            grid = np.unique(np.concatenate([grid[[0, -1]], inner]))
        chosen.append(grid if len(grid) else np.zeros(1))
    return chosen


def memberships(positions: Floats, grids: Levels, ordered: tuple[bool, ...]) -> list[Floats]:
    """Of each parameter, how much of its bits every point has, float64 [N, bits]."""
    return [membership(positions[:, i], np.asarray(grid), ordered[i]) for i, grid in enumerate(grids)]
