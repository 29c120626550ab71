"""Facility location: the batch that represents the pool best; the submodular control."""

import heapq

import numpy as np

from quantum_sampler.batches.engine import Local, Reads
from quantum_sampler.batches.law import BatchLaw
from quantum_sampler.selector import Floats, Ids

MISS = 0.1  # expected part of the optimum that the sampling of candidates gives up


class FacilityGreedy(Local):
    """One batch: lazy greedy maximisation of `coverage`, within 1 - 1/e of the optimum (Minoux 1978).

    Its inclusions are 0 and 1: only the floor of `drawn` makes it unbiased.
    """

    def reads(self, law: BatchLaw, batches: int, rng: np.random.Generator) -> Reads:
        return Reads(lazy_greedy(law)[None])


class Facility(Local):
    """Randomised batches: each step takes the best of (N / k) log(1 / 0.1) random candidates (Mirzasoleiman 2015)."""

    def __init__(self, reads: int = 256) -> None:
        self._count = reads

    def reads(self, law: BatchLaw, batches: int, rng: np.random.Generator) -> Reads:
        weights, likeness, pool = *clients(law), len(law)
        reads = max(self._count, batches)
        candidates = min(pool, int(np.ceil(pool / law.size * np.log(1 / MISS))))
        rows = np.arange(reads)
        best = np.zeros((reads, pool))  # likeness of each client to the batch so far
        taken = np.zeros((reads, pool), np.bool_)
        members = np.empty((reads, law.size), np.int64)
        for place in range(law.size):
            some = min(candidates, pool - place)
            lots = np.where(taken, np.inf, rng.random((reads, pool)))
            asked = np.argpartition(lots, some - 1, axis=1)[:, :some]  # [R, candidates]
            gains = np.maximum(likeness[asked] - best[:, None], 0.0) @ weights
            members[:, place] = item = asked[rows, gains.argmax(1)]
            taken[rows, item] = True
            np.maximum(best, likeness[item], out=best)
        return Reads(members)


def clients(law: BatchLaw) -> tuple[Floats, Floats]:
    """Weights [N] exp(fields) of the items to be represented, and their likeness [N, N], 1 to themselves."""
    return np.exp(law.fields), law.similarity + np.eye(len(law))


def coverage(law: BatchLaw, members: Ids) -> float:
    """sum_i w_i max_{j in members} S_ij."""
    weights, likeness = clients(law)
    return float(weights @ likeness[members].max(0))


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
