"""Facility location: batches that represent the pool well; the submodular control."""

import numpy as np

from quantum_sampler.batches.engine import Local, Reads
from quantum_sampler.batches.law import BatchLaw
from quantum_sampler.selector import Floats, Ids

MISS = 0.1  # expected part of the optimum that the sampling of candidates gives up


class Facility(Local):
    """Randomised batches: each step takes the best of (N / k) log(1 / 0.1) random candidates (Mirzasoleiman 2015)."""

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
