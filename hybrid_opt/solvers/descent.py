"""Descent by moves that keep the constraints."""

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.qubo import Bits, Floats, Qubo


def descend(qubo: Qubo, bits: Bits, rng: np.random.Generator) -> tuple[Bits, NDArray[np.int64]]:
    """Local minima below feasible bits [S, n]: the minima uint8 [S, n], and the evaluations that each took [S].

    The variables are visited in one random order, over and over, and the best of a variable's moves is taken where it
    lowers the energy: its flip; within a one-hot block, the 1 to another place; under a cardinality, an exchange with
    any variable of the other value. The start counts as an evaluation, and every move tried, though that
    takes one field only.
    """
    x = bits.astype(np.float64)
    fields = qubo.linear + x @ qubo.couplings  # what setting a bit adds to the energy, [S, n]
    evaluations = np.ones(len(x), np.int64)
    group_of: dict[int, tuple[NDArray[np.int64], int]] = {}
    places = [i for i in range(qubo.n) if not any(i in group for group, _ in qubo.groups)]
    for group, ones in qubo.groups:
        visited = group[:1] if ones == 1 else group  # a single 1 is moved whichever of the variables is visited
        group_of |= {i: (np.array(group), ones) for i in visited}
        places += visited
    order = rng.permutation(places)
    tolerance = 1e-12 * float(np.abs(qubo.couplings).sum() + np.abs(qubo.linear).sum())
    idle = np.zeros(len(x), np.int64)  # visits since the last move; after all of them, it is a minimum
    step = 0
    while (rows := np.flatnonzero(idle < len(order))).size:
        i = order[step % len(order)]
        step += 1
        idle[rows] += 1
        if i in group_of:
            moved = _exchange(qubo, x, fields, rows, evaluations, i, *group_of[i], tolerance)
        else:
            evaluations[rows] += 1
            change = 1 - 2 * x[rows, i]
            better = change * fields[rows, i] < -tolerance
            moved, change = rows[better], change[better]
            x[moved, i] += change
            fields[moved] += change[:, None] * qubo.couplings[i]
        idle[moved] = 0
    return x.astype(np.uint8), evaluations


def _exchange(
    qubo: Qubo,
    x: Floats,
    fields: Floats,
    rows: NDArray[np.intp],
    evaluations: NDArray[np.int64],
    i: int,
    group: NDArray[np.int64],
    ones: int,
    tolerance: float,
) -> NDArray[np.intp]:
    """Exchange variable i (the 1 of the group where it is the only one) with the best of the other value, in place."""
    here = np.full(len(rows), i)
    if ones == 1:
        here = group[x[np.ix_(rows, group)].argmax(1)]
    value = x[rows, here]
    other = x[np.ix_(rows, group)] != value[:, None]  # [R, G]
    evaluations[rows] += other.sum(1)
    sign = 1 - 2 * value  # what is added to variable i, and taken from the other
    gain = sign[:, None] * (fields[rows, here, None] - fields[np.ix_(rows, group)])
    gain = np.where(other, gain - qubo.couplings[here[:, None], group], np.inf)
    best = gain.argmin(1)
    better = gain[np.arange(len(rows)), best] < -tolerance
    moved: NDArray[np.intp] = rows[better]
    here, there, sign = here[better], group[best[better]], sign[better]
    x[moved, here] += sign
    x[moved, there] -= sign
    fields[moved] += sign[:, None] * (qubo.couplings[here] - qubo.couplings[there])
    return moved
