"""Sets of the wrong size made batches: members removed or added at random, by what the law says of each."""

import numpy as np

from quantum_sampler.batches.law import BatchLaw
from quantum_sampler.selector import Array, Floats, Ids, Mask


def repaired(law: BatchLaw, samples: Array, rng: np.random.Generator) -> Ids:
    """Members int64 [R, k] of samples [R, N] of 0 and 1, of any size; those of size k stay as they are.

    One at a time, a member i is removed with probability ~ exp(-h_i), or another added with ~ exp(h_i), where h_i is
    the log odds of i in the law given the rest, fields_i - sum_j couplings_ij x_j: the exact conditional law of where
    the change happens, if P(x) is continued to other sizes. So what the law wants least goes first, and never surely.
    """
    inside: Mask = np.asarray(samples, bool).copy()
    odds: Floats = law.fields - inside.astype(np.float64) @ law.couplings  # [R, N]
    excess = inside.sum(1) - law.size
    while (rows := np.flatnonzero(excess)).size:
        sign = np.sign(excess[rows])[:, None]  # 1: one too many
        scores = rng.gumbel(size=(rows.size, len(law))) - sign * odds[rows]  # their largest: a draw by the odds
        items = np.where(inside[rows] == (sign > 0), scores, -np.inf).argmax(1)
        inside[rows, items] ^= True
        odds[rows] += sign * law.couplings[items]
        excess[rows] -= sign[:, 0]
    return np.asarray(np.nonzero(inside)[1].reshape(-1, law.size), np.int64)
