"""Coefficients that forbid or demand states, cut to a size beside which the others are seen."""

from itertools import pairwise
from math import remainder
from typing import TypeVar

import numpy as np

from hybrid_opt.problem.quadratic import Floats, Quadratic

Q = TypeVar("Q", bound=Quadratic)
FORBIDDING = 2.0**20  # times what suffices: a coefficient or a weight that large forbids states, or demands them
MARGIN = 1.01  # of a unit over all that smaller coefficients can add
ROUNDING = 2.0**-51  # of a coefficient: this is no rest of it


def clipped(qubo: Q) -> Q | None:
    """The Qubo with coefficients that forbid cut down; None where there are none. See Qubo.clipped.

    Sorted by size, a coefficient forbids where it exceeds FORBIDDING times the sum of all smaller ones. Such
    coefficients are multiples of a common unit, up to a rest as small as the others. So the energies of states differ
    by whole units, or by what the small ones say. Any unit above the sum of the small ones leaves that order.
    Coefficients without a common unit stay.
    """
    rows, columns = np.nonzero(np.triu(qubo.couplings))
    values = np.concatenate([qubo.linear, qubo.couplings[rows, columns]])
    sizes = np.sort(np.abs(values[values != 0]))
    if not sizes.size or sizes[-1] <= FORBIDDING * sizes[0]:
        return None
    sums = sizes.cumsum()
    levels = sizes[1:][sizes[1:] > FORBIDDING * sums[:-1]]  # the least size of each
    if levels.size and _is_noise(qubo, values, levels[0]):
        levels = levels[1:]
    made = values.copy()
    for low, high in pairwise([*levels, np.inf]):
        below = np.abs(values) < low
        here = (np.abs(values) < high) & ~below
        level = values[here]
        unit = _unit(np.unique(np.abs(level)), float(np.abs(values[below]).sum()))
        rests = np.array([remainder(value, unit) for value in level.tolist()])
        rests[np.abs(rests) <= ROUNDING * np.abs(level)] = 0.0
        if FORBIDDING * (np.abs(rests).sum() + np.abs(values[below]).sum()) < unit:
            made[here] = np.rint(level / unit) * MARGIN * (np.abs(rests).sum() + np.abs(made[below]).sum()) + rests
    if np.array_equal(made, values):
        return None
    matrix = np.diag(made[: qubo.n])
    matrix[rows, columns] = made[qubo.n :]
    return type(qubo)(matrix, qubo.offset, one_hot=qubo.one_hot, cardinality=qubo.cardinality, labels=qubo.labels)


def _is_noise(qubo: Quadratic, values: Floats, least: float) -> bool:
    """Whether the coefficients below look like what rounding left: they are the fewer, and not of all variables."""
    small = np.abs(values) < least
    touched = (qubo.linear != 0) & small[: qubo.n]
    touched |= ((qubo.couplings != 0) & (np.abs(qubo.couplings) < least)).any(1)
    return bool((small & (values != 0)).sum() < (~small).sum() and not touched.all())


def _unit(sizes: Floats, rest: float) -> float:
    """The greatest common divisor of ascending sizes, up to the rest and to rounding: Euclid's algorithm."""
    unit, rest = 0.0, max(rest, 4 * ROUNDING * sizes[-1])
    for size in sizes.tolist():
        while unit > rest:
            size, unit = unit, abs(remainder(size, unit))
        unit = size
    least = float(sizes[0])
    return least / round(least / min(unit, least))
