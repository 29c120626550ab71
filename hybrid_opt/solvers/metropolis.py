"""Annealing by moves that keep the constraints, a compiled kernel."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.problem.quadratic import Bits, Floats
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simd.registers import cached


def anneal(
    qubo: Qubo, bits: Bits, betas: Floats, rng: np.random.Generator, stopped: Callable[[], bool]
) -> tuple[Bits, int]:
    """Metropolis sweeps from feasible bits [R, n], one for each inverse temperature: bits [R, n] and evaluations.

    A sweep proposes the flip of every variable that no constraint binds, and for each constraint as many exchanges of a
    random 1 and a random 0 as it has variables (Kawasaki moves). Both proposals are as likely as their reverse, so at a
    constant temperature the law is exp(-beta energy) over the feasible states. `stopped` is asked before every read.
    """
    groups = [(group, ones) for group, ones in qubo.groups if 0 < ones < len(group)]
    bound = {i for group, _ in qubo.groups for i in group}
    free = np.array([i for i in range(qubo.n) if i not in bound], np.int64)
    ends = np.cumsum([0, *(len(group) for group, _ in groups)])
    counts = np.array([ones for _, ones in groups], np.int64)
    x = bits.astype(np.float64)
    fields = qubo.linear + x @ qubo.couplings
    for row, field in zip(x, fields, strict=True):
        if stopped():
            break
        # Every group's variables, those that are 1 first.
        members = np.array([i for group, _ in groups for i in sorted(group, key=lambda i: -row[i])], np.int64)
        _sweeps(qubo.couplings, row, field, free, members, ends, counts, betas, rng)
    return x.astype(np.uint8), len(x) * len(betas) * (len(free) + int(ends[-1]))


@cached(error_model="python")
def _sweeps(
    couplings: Floats,
    x: Floats,
    fields: Floats,
    free: NDArray[np.int64],
    members: NDArray[np.int64],
    ends: NDArray[np.int64],
    counts: NDArray[np.int64],
    betas: Floats,
    rng: Any,
) -> None:
    """Sweeps over x [n] in place, with its fields [n] and the order of members kept up."""
    for beta in betas:
        for i in free:
            change = 1 - 2 * x[i]
            cost = change * fields[i]
            if cost <= 0 or rng.random() < np.exp(-beta * cost):
                x[i] += change
                fields += change * couplings[i]
        for group, ones in enumerate(counts):
            begin, end = ends[group], ends[group + 1]
            for _ in range(end - begin):
                a = begin + int(rng.random() * ones)
                b = begin + ones + int(rng.random() * (end - begin - ones))
                i, j = members[a], members[b]
                cost = fields[j] - fields[i] - couplings[i, j]
                if cost <= 0 or rng.random() < np.exp(-beta * cost):
                    x[i], x[j] = 0.0, 1.0
                    members[a], members[b] = j, i
                    fields += couplings[j] - couplings[i]
