"""Facility location: the batch that represents the pool best."""

import heapq

import numpy as np

from quantum_sampler.batches.engine import Local, Reads
from quantum_sampler.batches.facility import clients
from quantum_sampler.batches.law import BatchLaw
from quantum_sampler.selector import Ids


class FacilityGreedy(Local):
    """One batch: lazy greedy maximisation of `coverage`, within 1 - 1/e of the optimum (Minoux 1978).

    Its inclusions are 0 and 1: only the floor of `drawn` makes it unbiased.
    """

    def reads(self, law: BatchLaw, batches: int, rng: np.random.Generator) -> Reads:
        return Reads(lazy_greedy(law)[None])


def lazy_greedy(law: BatchLaw) -> Ids:
    """Members int64 [k]: what plain greedy takes, but gains are computed anew only where they may be the largest."""
    weights, likeness = clients(law)
    best = np.zeros(len(law))
    queue = [(-float(gain), item, 0) for item, gain in enumerate(likeness @ weights)]
    heapq.heapify(queue)
    members: list[int] = []
    while len(members) < law.size:
        _, item, known = heapq.heappop(queue)
        if known == len(members):
            members.append(item)
            np.maximum(best, likeness[item], out=best)
        else:
            gain = float(np.maximum(likeness[item] - best, 0.0) @ weights)
            heapq.heappush(queue, (-gain, item, len(members)))
    return np.array(members, np.int64)
