"""The fixed-size Ising law of a batch: priority against redundancy, over the subsets of k of a pool."""

from functools import cached_property

import numpy as np

from hybrid_opt import Qubo
from quantum_sampler.batches.proportional import proportional
from quantum_sampler.selector import Array, Floats, Ids, Mask

SURE = 0.98  # inclusions are matched up to here; log odds of 1 are infinite


class BatchLaw:
    """P(x) ~ exp((sum_i u_i x_i - redundancy sum_{i<j} S_ij x_i x_j) / temperature) over x in {0, 1}^N, |x| = size.

    utility: u [N], finite, log priorities. similarity: S [N, N], symmetric, >= 0, see `similarity`; its diagonal is
    not used. fields [N] and couplings [N, N] (zeros on the diagonal) are u and redundancy S over the temperature.

    Raises ValueError unless 0 < size <= N.
    """

    def __init__(
        self, utility: Floats, similarity: Array, size: int, redundancy: float = 2.0, temperature: float = 1.0
    ) -> None:
        if not 0 < size <= len(utility):
            raise ValueError(f"size={size}: from 1 to {len(utility)} of the pool are accepted")
        self.size = size
        self.similarity = similarity
        self.fields: Floats = (utility - utility.max()) / temperature
        self.couplings: Floats = similarity * (redundancy / temperature)
        np.fill_diagonal(self.couplings, 0.0)

    def __len__(self) -> int:
        return len(self.fields)

    @cached_property
    def qubo(self) -> Qubo:
        """-log P up to a constant, with the size as cardinality. Of that constant, see `balance`."""
        return Qubo(np.diag(self.balance() - self.fields) + np.triu(self.couplings), cardinality=self.size)

    def balance(self) -> float:
        """The chemical potential under which about `size` items would be chosen if their number were free (mean field).

        It does not change the law on |x| = size, but where the size is a penalty, a weak one is enough.
        """
        potential, occupied = 0.0, np.full(len(self), self.size / len(self))
        for _ in range(60):
            odds = np.exp(np.clip(self.fields - self.couplings @ occupied - potential, -700.0, 700.0))
            occupied = (occupied + odds / (1.0 + odds)) / 2
            potential += float(np.log(occupied.sum() / self.size))
        return potential

    def exact(self) -> tuple[Ids, Floats]:
        """All batches int64 [C(N, size), size], rising, and their probabilities, by enumeration.

        Raises ProblemError above 2^24 of them.
        """
        space = self.qubo.feasible_space()
        energies = space.energies()
        chances = np.exp(energies.min() - energies)
        members = np.nonzero(space.bits(np.arange(space.size)))[1].reshape(-1, self.size)
        return members, chances / chances.sum()


def matched(utility: Floats, similarity: Array, size: int, redundancy: float = 2.0, temperature: float = 1.0) -> Floats:
    """Utilities under which inclusions are about those in proportion to exp(u / temperature), at most 1; float64 [N].

    Without redundancy the log odds of such an inclusion do that (conditional Poisson sampling, Hajek 1964). Of item i
    the couplings take the factor prod_j E exp(-redundancy S_ij x_j / temperature), which is given back as if the x_j
    were independent. So what repels still comes as often as its priority says, only not together.
    """
    inclusion = proportional(np.exp((utility - utility.max()) / temperature), size)
    factors = inclusion * -np.expm1(-similarity * (redundancy / temperature))  # [N, N], of j in column j
    np.fill_diagonal(factors, 0.0)
    capped = np.minimum(inclusion, SURE)
    fields = np.log(capped) - np.log1p(-capped) - np.log1p(-np.minimum(factors, SURE)).sum(1)
    return np.asarray(temperature * fields)


def similarity(features: Array, seen: Mask) -> Floats:
    """S = max(cosine, 0) of features [N, F], centred on the mean of those seen; float64 [N, N], zeros on the diagonal.

    seen: bool [N]. Items that were not seen, and those at the centre, are similar to nothing.
    """
    known = np.asarray(features[seen], np.float64)
    unit = np.zeros((len(features), features.shape[1]))
    if len(known):
        centred = known - known.mean(0)
        norms = np.sqrt((centred**2).sum(1, keepdims=True))
        scale = 1e-6 * np.sqrt((known**2).sum(1, keepdims=True))  # rounding of float32, not a direction
        unit[seen] = np.where(norms > scale, centred / np.where(norms > scale, norms, 1.0), 0.0)
    cosine: Floats = np.maximum(unit @ unit.T, 0.0)
    np.fill_diagonal(cosine, 0.0)
    return cosine
