"""Objective values made robust before a surrogate learns them."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_opt.errors import ProblemError

Transform = Literal["rank", "normal", "log"]
LOG_FLOOR = 0.1  # of the distance between the best and the median value: how far the logarithm looks down


def robust(values: ArrayLike, transform: Transform = "rank") -> NDArray[np.float64]:
    """Values [N], to be minimised and possibly infinite, in their order with mean 0 and standard deviation 1.

    rank: their ranks, equal ones shared. normal: the normal quantiles of (rank - 1/2) / N. log: log(v + 0.1), with v
    the distance from the best value in units of that of the median, cut at 2 (winsorised). All equal: zeros.

    Raises ProblemError for an unknown transform.
    """
    if transform not in get_args(Transform):
        raise ProblemError(f"transform={transform}: {', '.join(get_args(Transform))} are accepted")
    y = np.asarray(values, np.float64)
    if transform == "log":
        best, median = y.min(), np.median(y)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            scale = median - best
            z = np.log(np.minimum((y - best) / scale, 2.0) + LOG_FLOOR)
        if not (np.isfinite(best) and np.isfinite(scale) and scale > 0 and np.isfinite(z).all()):
            return robust(y)  # more than half are equal, or infinite
    else:
        from scipy.stats import norm, rankdata

        ranks = rankdata(y)
        z = ranks if transform == "rank" else norm.ppf((ranks - 0.5) / len(y))
    spread = z.std()
    return np.asarray((z - z.mean()) / spread if spread > 0 else np.zeros(len(y)))
