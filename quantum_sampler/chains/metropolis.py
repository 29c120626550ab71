"""Metropolis chains: any symmetric proposal, accepted so that the chain keeps a law (Metropolis et al. 1953)."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


class Proposal(Protocol):
    """Symmetric: s' is as likely from s as s is from s'."""

    def propose(self, states: Ids, rng: np.random.Generator) -> Ids: ...


class Trace(NamedTuple):
    """visited: int64 [steps, C], the states after each step. last: int64 [R, C], what to continue from; its first row
    is the last of `visited`. acceptance: share of proposals, of the chains that are handed out, that were accepted.
    """

    visited: Ids
    last: Ids
    acceptance: float


class Metropolis:
    """C chains whose stationary law is proportional to exp(log_law), float64 [2^n], -inf for states that it lacks.

    A chain in a state that the law lacks takes any proposal. States: int64 [1, C].
    """

    replicas = 1

    def __init__(self, proposal: Proposal, log_law: Floats) -> None:
        self._proposal, self._log_law = proposal, log_law

    def run(self, states: Ids, steps: int, rng: np.random.Generator) -> Trace:
        """So many steps of each chain, steps >= 1."""
        present = states[0]
        visited = np.empty((steps, present.size), np.int64)
        accepted = 0
        for step in range(steps):
            proposed = self._proposal.propose(present, rng)
            accept = accepts(self._log_law[proposed], self._log_law[present], rng)
            present = visited[step] = np.where(accept, proposed, present)
            accepted += int(np.count_nonzero(accept))
        return Trace(visited, present[None], accepted / visited.size)


class Direct:
    """The control where all probabilities can be computed: independent draws from the law, which need no chain."""

    replicas = 1

    def __init__(self, log_law: Floats) -> None:
        self._cumulative = np.cumsum(np.exp(log_law - log_law.max()))

    def run(self, states: Ids, steps: int, rng: np.random.Generator) -> Trace:
        """So many draws in place of each chain, steps >= 1."""
        draws = rng.random((steps, states.shape[1])) * self._cumulative[-1]
        visited = self._cumulative[:-1].searchsorted(draws, side="right")
        return Trace(visited, visited[-1:], 1.0)


def accepts(new: Floats, old: Floats, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Whether moves from log-probabilities `old` to `new` are accepted; from -inf all are."""
    possible = np.isfinite(old)
    gain = np.subtract(new, old, out=np.zeros_like(new), where=possible)
    return np.asarray((-rng.standard_exponential(new.shape) < gain) | ~possible)
