"""Annealing by exchanges of one member of the batch and one that is not (Kawasaki moves), a compiled kernel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.simd.registers import cached
from quantum_sampler.batches.engine import Local, Reads, subsets
from quantum_sampler.batches.law import BatchLaw
from quantum_sampler.selector import Floats, Ids

compiled = cached()
UNIFORM = 0.1  # of the proposals, the others follow the priorities: at low temperature those would be always the same


class Kawasaki(Local):
    """Metropolis-Hastings over the sets of k of N, from uniform ones to the law itself.

    An exchange takes a random member out and proposes another item by its priority; what is left to accept or refuse is
    the change in redundancy. A sweep is k N / (N - k) exchanges tried, of which about k name an item that is not a
    member. The inverse temperature rises linearly from 0 to 1 in the first half of the sweeps and stays there in the
    second half, so each read is a sample of the law once that half is longer than the mixing time. The reads are
    independent.
    """

    def reads(self, law: BatchLaw, batches: int, rng: np.random.Generator) -> Reads:
        rising = self._sweeps // 2
        betas = np.append(np.arange(rising) / max(1, rising), 1.0)
        stays = np.append(np.ones(rising, np.int64), self._sweeps - rising)
        return Reads(_anneal(law, max(self._count, batches), betas, stays, rng))


def _anneal(law: BatchLaw, reads: int, betas: Floats, stays: NDArray[np.int64], rng: np.random.Generator) -> Ids:
    members = subsets(len(law), law.size, reads, rng)
    if law.size == len(law):
        return members
    tries = -(-law.size * len(law) // (len(law) - law.size))  # in a sweep, those that name a member included
    inside = np.zeros((reads, len(law)), np.bool_)
    np.put_along_axis(inside, members, True, 1)
    for beta, sweeps in zip(betas, stays, strict=True):
        weights = np.exp(beta * law.fields)
        weights = (1.0 - UNIFORM) * weights / weights.sum() + UNIFORM / len(law)
        rest = beta * law.fields - np.log(weights)  # what the proposal leaves to the acceptance
        keep, other = alias_table(weights)
        _exchanges(law.couplings, beta, rest, keep, other, members, inside, sweeps * tries, rng)
    return members


@compiled
def alias_table(weights: Floats) -> tuple[Floats, Ids]:
    """keep [N] and other [N]: a uniform place i stays i with probability keep_i, else is other_i (Vose 1991)."""
    n = len(weights)
    keep = weights * (n / weights.sum())
    other = np.arange(n)
    small, large = np.empty(n, np.int64), np.empty(n, np.int64)
    smalls = larges = 0
    for i in range(n):
        if keep[i] < 1.0:
            small[smalls] = i
            smalls += 1
        else:
            large[larges] = i
            larges += 1
    while smalls and larges:
        smalls -= 1
        i, j = small[smalls], large[larges - 1]
        other[i] = j
        keep[j] -= 1.0 - keep[i]
        if keep[j] < 1.0:
            larges -= 1
            small[smalls] = j
            smalls += 1
    for place in range(smalls):  # 1 but for rounding
        keep[small[place]] = 1.0
    return keep, other


@compiled
def _exchanges(
    couplings: Floats,
    beta: float,
    rest: Floats,
    keep: Floats,
    other: Ids,
    members: Ids,
    inside: NDArray[np.bool_],
    tries: int,
    rng: Any,
) -> None:
    """Exchanges tried in every read at one temperature, in place: members [R, k] and inside [R, N]."""
    reads, k = members.shape
    n = len(rest)
    for read in range(reads):
        chosen, taken = members[read], inside[read]
        for _ in range(tries):
            place = int(rng.random() * k)
            spot = rng.random() * n
            j = int(spot)
            if spot - j >= keep[j]:
                j = other[j]
            if taken[j]:
                continue
            i = chosen[place]
            gain = couplings[i, j]
            for m in range(k):
                gain += couplings[i, chosen[m]] - couplings[j, chosen[m]]
            gain = beta * gain + rest[j] - rest[i]
            if gain >= 0.0 or rng.random() < np.exp(gain):
                taken[i], taken[j] = False, True
                chosen[place] = j
