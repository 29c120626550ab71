"""Amplitude amplification of an unknown marked part, by the exact law of its two-dimensional subspace.

From amplitudes sqrt(p_i), one iteration flips the sign of the marked items and reflects about the start. The state
stays in the plane of the marked and the unmarked part of the start (Brassard, Hoyer, Mosca and Tapp,
arXiv quant-ph/0005055, section 2), so within either part items keep their relative probabilities p_i, and only the
probability P of the marked part turns: after j iterations it is sin^2((2 j + 1) theta) with sin^2 theta = P.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike

from quantum_sampler.selector import Floats, Ids, Mask

GROWTH = 6 / 5  # of the range of iterations after each failure; 1 < growth < 4/3 keeps the expectation O(1 / sqrt(P))


def marked_probability(marked: float, iterations: ArrayLike) -> Floats:
    """Probability of the marked part after some iterations, if `marked` of it is in the start: any shape."""
    angle = np.arcsin(np.sqrt(marked))
    return np.asarray(np.sin((2 * np.asarray(iterations) + 1) * angle) ** 2)


@dataclass(frozen=True)
class Search:
    """Search for a marked item where nobody knows how much is marked (Boyer et al., arXiv quant-ph/9605034, section 4).

    widths int64 [R]: round k draws its iterations uniformly from 0..widths[k] - 1, measures, and checks what it
    measured. The search ends with the first marked item, or with none after the last round. A query is one call of the
    oracle: one for each iteration and one for each check, so a search takes sum(widths) at most.
    """

    widths: Ids

    @staticmethod
    @lru_cache(maxsize=64)
    def within(queries: int) -> "Search":
        """As many rounds, each wider by 6/5, as take no more queries, however they turn out."""
        widths: list[int] = []
        while (width := int(np.ceil(GROWTH ** len(widths)))) <= queries - sum(widths):
            widths.append(width)
        return Search(np.array(widths, np.int64))

    def success(self, marked: float) -> float:
        """Probability that a search finds a marked item, if `marked` of the start is."""
        with np.errstate(divide="ignore"):  # of a round that cannot fail
            return float(-np.expm1(np.log1p(-self._round_success(marked)).sum()))

    def expected_queries(self, marked: float) -> float:
        """Mean number of queries of a search."""
        reached = np.cumprod(np.concatenate([[1.0], 1.0 - self._round_success(marked)]))[:-1]
        return float(reached @ (self.widths + 1)) / 2

    def run(self, rng: np.random.Generator, marked: float, searches: int) -> tuple[Mask, Ids]:
        """Outcomes of independent searches [S]: which found a marked item, and the queries of each."""
        found, queries = np.zeros(searches, bool), np.zeros(searches, np.int64)
        pending: Ids = np.arange(searches)
        for width in self.widths:
            if not pending.size:
                break
            iterations = rng.integers(width, size=pending.size)
            queries[pending] += iterations + 1
            hit = rng.random(pending.size) < marked_probability(marked, iterations)
            found[pending[hit]] = True
            pending = pending[~hit]
        return found, queries

    @cached_property
    def _iterations(self) -> Ids:
        """All iterations that a round may draw, one round after the other [sum(widths)]."""
        return np.concatenate([np.empty(0, np.int64), *(np.arange(width) for width in self.widths)])

    @cached_property
    def _starts(self) -> Ids:
        """Where each round begins among them [R]."""
        starts: Ids = np.cumsum(self.widths) - self.widths
        return starts

    def _round_success(self, marked: float) -> Floats:
        """Probability [R] that a round measures a marked item; a sum of its terms is exact for the smallest too."""
        probabilities = np.add.reduceat(marked_probability(marked, self._iterations), self._starts) / self.widths
        return np.minimum(probabilities, 1.0)
