"""Convergence traces: the best energy by what was spent until then."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def running_best(spent: ArrayLike, energies: ArrayLike) -> NDArray[np.float64]:
    """The improvements of a run, and its end.

    spent: [S], what was spent (in all) when energies [S] were known; infinite ones are not yet there. Returns
    float64 [rows, 2]: spent and the best energy by then.
    """
    spent, energies = np.asarray(spent, np.float64), np.asarray(energies, np.float64)
    best = np.minimum.accumulate(energies)
    rows = best < np.concatenate([[np.inf], best[:-1]])
    rows[-1] = np.isfinite(best[-1])
    return np.stack([spent[rows], best[rows]], axis=1)
