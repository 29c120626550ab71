"""Greedy and swaps: the batch of the highest probability, or a local maximum; the control that optimises."""

import numpy as np

from quantum_sampler.batches.engine import Local, Reads
from quantum_sampler.batches.law import BatchLaw
from quantum_sampler.selector import Ids


class Greedy(Local):
    """One batch: the best item is added k times, then the best exchange is made for as long as it helps.

    Its inclusions are 0 and 1: only the floor of `drawn` makes it unbiased, at the price of large weights.
    """

    def reads(self, law: BatchLaw, batches: int, rng: np.random.Generator) -> Reads:
        return Reads(improved(law, built(law))[None])


def built(law: BatchLaw) -> Ids:
    """Members int64 [k], each the one that raises log P most."""
    members = np.empty(law.size, np.int64)
    gain = law.fields.copy()
    for place in range(law.size):
        members[place] = item = gain.argmax()
        gain -= law.couplings[item]
        gain[item] = -np.inf
    return members


def improved(law: BatchLaw, members: Ids) -> Ids:
    """A local maximum under exchanges, from members [k] uphill by the best exchange each time."""
    members = members.copy()
    tolerance = 1e-12 * float(np.abs(law.fields).sum() + law.couplings.sum())
    gain = law.fields - law.couplings[:, members].sum(1)
    while True:
        # Item j in, member i out: gain_j - gain_i + couplings_ij.
        change = gain[None] - gain[members, None] + law.couplings[members]
        change[:, members] = -np.inf
        place, item = np.unravel_index(change.argmax(), change.shape)
        if not change[place, item] > tolerance:
            return members
        gain += law.couplings[members[place]] - law.couplings[item]
        members[place] = item
