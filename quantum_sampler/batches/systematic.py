"""Systematic sampling with probability proportional to size: the control without features."""

import numpy as np

from quantum_sampler.batches.engine import Local, Reads
from quantum_sampler.batches.law import BatchLaw
from quantum_sampler.batches.proportional import proportional, systematic


class Systematic(Local):
    """Batches of k with inclusions in proportion to exp(fields), those that would exceed 1 being 1; random order.

    Source: Madow 1949.
    """

    def reads(self, law: BatchLaw, batches: int, rng: np.random.Generator) -> Reads:
        inclusion = proportional(np.exp(law.fields), law.size)
        members = np.empty((batches, law.size), np.int64)
        for batch in members:
            order = rng.permutation(len(law))
            batch[:] = order[systematic(inclusion[order], 1, rng)[0]]
        return Reads(members, inclusion)
