"""Descent by moves that keep the constraints."""

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.problem.quadratic import Bits, Floats
from hybrid_opt.problem.qubo import Qubo

TOLERANCE = 1e-12  # of the sizes that are summed: a gain below is rounding


def descend(qubo: Qubo, bits: Bits, rng: np.random.Generator) -> tuple[Bits, NDArray[np.int64]]:
    """Local minima below feasible bits [S, n]: the minima uint8 [S, n], and the evaluations that each took [S].

    The variables are visited in one random order, over and over, and the best of a variable's moves is taken where it
    lowers the energy: its flip; within a one-hot block, the 1 to another place; under a cardinality, an exchange with
    any variable of the other value. The start counts as an evaluation, and every move tried, though that
    takes one field only.
    """
    qubo = qubo.clipped()
    x = bits.astype(np.float64)
    fields = qubo.linear + x @ qubo.couplings  # what setting a bit adds to the energy, [S, n]
    tolerance, coarse = _tolerances(qubo)
    evaluations = np.ones(len(x), np.int64)
    group_of: dict[int, tuple[NDArray[np.int64], int]] = {}
    places = [i for i in range(qubo.n) if not any(i in group for group, _ in qubo.groups)]
    for group, ones in qubo.groups:
        visited = group[:1] if ones == 1 else group  # a single 1 is moved whichever of the variables is visited
        group_of |= {i: (np.array(group), ones) for i in visited}
        places += visited
    order = rng.permutation(places)
    idle = np.zeros(len(x), np.int64)  # visits since the last move; after all of them, it is a minimum
    step = 0
    while (rows := np.flatnonzero(idle < len(order))).size:
        i = order[step % len(order)]
        step += 1
        idle[rows] += 1
        if i in group_of:
            moved = _exchange(qubo, x, fields, rows, evaluations, i, *group_of[i], tolerance, coarse)
        else:
            evaluations[rows] += 1
            change = 1 - 2 * x[rows, i]
            field, slack = fields[rows, i], tolerance[i]
            if coarse[i]:
                field = qubo.linear[i] + x[rows] @ qubo.couplings[i]
                slack = TOLERANCE * (abs(qubo.linear[i]) + x[rows] @ np.abs(qubo.couplings[i]))
            better = change * field < -slack
            moved, change = rows[better], change[better]
            x[moved, i] += change
            fields[moved] += change[:, None] * qubo.couplings[i]
        idle[moved] = 0
    return x.astype(np.uint8), evaluations


def _tolerances(qubo: Qubo) -> tuple[Floats, NDArray[np.bool_]]:
    """What rounding may do to the field of each variable [n], and where that hides a coefficient of its row [n].

    A single coefficient that forbids, such as 1e17 among ones, hides the others of its two rows. Their fields are
    summed anew at each look, of what is set then.
    """
    sizes = np.abs(np.column_stack([qubo.linear, qubo.couplings]))
    tolerance = TOLERANCE * sizes.sum(1)
    return tolerance, sizes.min(1, where=sizes > 0, initial=np.inf) < 10 * tolerance


def _fields(
    linear: Floats, couplings: Floats, x: Floats, here: NDArray[np.intp], group: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """What setting `here` [R] adds where each of the group is 0, and each of the group where `here` is 0: [R, G] each.

    Nothing that is added is taken away again: a coefficient that forbids would take the others' digits with it.
    """
    every = np.arange(len(x))
    x[every, here] = 0.0
    terms = x * couplings[here]  # [R, n]
    top = np.abs(terms).argmax(1)
    total = terms.sum(1)
    less = total[:, None] - terms[:, group]
    terms[every, top] = 0.0
    less = np.where(group == top[:, None], terms.sum(1)[:, None], less)
    return linear[here][:, None] + less, linear[group] + x @ couplings[:, group]


def _exchange(
    qubo: Qubo,
    x: Floats,
    fields: Floats,
    rows: NDArray[np.intp],
    evaluations: NDArray[np.int64],
    i: int,
    group: NDArray[np.int64],
    ones: int,
    tolerance: Floats,
    coarse: NDArray[np.bool_],
) -> NDArray[np.intp]:
    """Exchange variable i (the 1 of the group where it is the only one) with the best of the other value, in place."""
    here = np.full(len(rows), i)
    if ones == 1:
        here = group[x[np.ix_(rows, group)].argmax(1)]
    value = x[rows, here]
    other = x[np.ix_(rows, group)] != value[:, None]  # [R, G]
    evaluations[rows] += other.sum(1)
    sign = 1 - 2 * value  # what is added to variable i, and taken from the other
    if coarse[group].any():
        set_here, set_there = _fields(qubo.linear, qubo.couplings, x[rows], here, group)
        gain = sign[:, None] * (set_here - set_there)
        sizes = _fields(np.abs(qubo.linear), np.abs(qubo.couplings), x[rows], here, group)
        slack = TOLERANCE * (sizes[0] + sizes[1])
    else:
        gain = sign[:, None] * (fields[rows, here, None] - fields[np.ix_(rows, group)])
        gain -= qubo.couplings[here[:, None], group]
        slack = tolerance[here][:, None] + tolerance[group]
    gain = np.where(other, gain, np.inf)
    best, every = gain.argmin(1), np.arange(len(rows))
    better = gain[every, best] < -slack[every, best]
    moved: NDArray[np.intp] = rows[better]
    here, there, sign = here[better], group[best[better]], sign[better]
    x[moved, here] += sign
    x[moved, there] -= sign
    fields[moved] += sign[:, None] * (qubo.couplings[here] - qubo.couplings[there])
    return moved
