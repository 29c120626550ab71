"""Parallel tempering, or replica exchange (Swendsen and Wang 1986; Geyer 1991): the strong classical control."""

import numpy as np
from numpy.typing import NDArray

from quantum_sampler.chains.flip_proposals import LocalProposal
from quantum_sampler.chains.metropolis import Trace, accepts

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


class Tempering:
    """C chains with R replicas each: replica r keeps the law ~ exp(beta_r log_law), beta falling from 1 to 0.

    A step is one local flip of every replica, then exchanges between neighbours (the even or the odd pairs, by a coin);
    so it takes R evaluations of the law where other chains take one. The first replica is handed out. States that the
    law lacks are passable to all but the first, at the least log-probability of the others. log_law: float64 [2^n].
    States: int64 [R, C].
    """

    def __init__(self, log_law: Floats, replicas: int = 8) -> None:
        self.replicas = replicas
        self._local = LocalProposal(log_law.size.bit_length() - 1)
        passable = np.where(np.isfinite(log_law), log_law, log_law[np.isfinite(log_law)].min())
        betas = np.linspace(1.0, 0.0, replicas) if replicas > 1 else np.ones(1)
        self._laws = betas[:, None] * passable  # [R, 2^n]
        self._laws[0] = log_law

    def run(self, states: Ids, steps: int, rng: np.random.Generator) -> Trace:
        """So many steps of each chain, steps >= 1."""
        present = states.copy()
        rows = np.arange(self.replicas)[:, None]
        visited = np.empty((steps, present.shape[1]), np.int64)
        accepted = 0
        for step in range(steps):
            proposed = self._local.propose(present, rng)
            accept = accepts(self._laws[rows, proposed], self._laws[rows, present], rng)
            accepted += int(np.count_nonzero(accept[0]))
            present = np.where(accept, proposed, present)
            upper = rows[rng.integers(2) : self.replicas - 1 : 2]
            if upper.size:
                one, other = present[upper[:, 0]], present[upper[:, 0] + 1]
                new = self._laws[upper, other] + self._laws[upper + 1, one]
                swap = accepts(new, self._laws[upper, one] + self._laws[upper + 1, other], rng)
                present[upper[:, 0]] = np.where(swap, other, one)
                present[upper[:, 0] + 1] = np.where(swap, one, other)
            visited[step] = present[0]
        return Trace(visited, present, accepted / visited.size)
