"""Sparse Bayesian linear regression on bits and their pairs, with Thompson sampling: BOCS."""

from itertools import combinations
from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.search.surrogate import Floats, Levels, Observations, Surrogate, membership, one_hot_qubo
from hybrid_opt.search.surrogates.knots import knots, memberships

TINY = 1e-12  # variances stay above it


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class SparseConfig:
    """draws: of the Gibbs sampler in each fit, the later half of which make the mean. burn: draws before those, where
    the bits are not those of the last fit. thompson: how often a proposal minimises the last draw rather than the mean.
    window: the most recent observations that are learned, with the best one. knots: the most bits of an ordered
    parameter.
    """

    draws: PositiveInt = 20
    burn: NonNegativeInt = 100
    thompson: Annotated[float, Field(ge=0, le=1)] = 1.0
    window: PositiveInt = 200
    knots: Annotated[int, Field(ge=4)] = 10


class SparseRegression(Surrogate):
    """value = a0 + sum_i a_i b_i + sum_{i<j} a_ij b_i b_j over bits of different parameters, a sparse.

    Bayesian optimisation of combinatorial structures (Baptista and Poloczek 2018, arXiv 1806.08838): a horseshoe prior
    a ~ N(0, noise tau^2 lambda^2), lambda and tau half-Cauchy, sampled by Gibbs (Makalic and Schmidt 2016, arXiv
    1508.03884), the coefficients all at once (Bhattacharya, Chakraborty, Mallick 2016, arXiv 1506.04778). The chain
    goes on from one fit to the next while the bits are the same.
    """

    name = "sparse"
    Config = SparseConfig

    def __init__(self, config: SparseConfig) -> None:
        super().__init__(config)
        self._ordered: tuple[bool, ...] = ()
        self._grids: list[Floats] = []
        self._chain: Horseshoe | None = None
        self._mean: Floats = np.zeros(0)
        self._draw: Floats = np.zeros(0)
        self._offset = 0.0

    def fit(self, observations: Observations, rng: np.random.Generator) -> None:
        seen = observations.recent(self.config.window)
        grids = knots(seen, self.config.knots)
        features = _features(memberships(seen.positions, grids, seen.ordered))
        same = self._ordered == seen.ordered and all(map(np.array_equal, grids, self._grids))
        burn = 0
        if self._chain is None or not same:
            self._chain, burn = Horseshoe(features.shape[1]), self.config.burn
        self._ordered, self._grids, self._offset = seen.ordered, grids, float(seen.values.mean())
        drawn = [self._chain.step(features, seen.values - self._offset, rng) for _ in range(burn + self.config.draws)]
        self._mean = np.mean(drawn[burn + self.config.draws // 2 :], axis=0)
        self._draw = drawn[-1]

    def mean(self, levels: Levels) -> Qubo:
        return self._qubo(levels, self._mean)

    def qubo(self, levels: Levels, rng: np.random.Generator) -> Qubo:
        return self._qubo(levels, self._draw if rng.random() < self.config.thompson else self._mean)

    def _qubo(self, levels: Levels, coefficients: Floats) -> Qubo:
        sizes = [len(grid) for grid in self._grids]
        at = [
            membership(np.asarray(level), grid, ordered)
            for level, grid, ordered in zip(levels, self._grids, self._ordered, strict=True)
        ]
        linear = [shares @ part for shares, part in zip(at, _split(coefficients, sizes), strict=True)]
        pairs, used = {}, sum(sizes)
        for i, j in combinations(range(len(sizes)), 2):
            block = coefficients[used : used + sizes[i] * sizes[j]].reshape(sizes[i], sizes[j])
            pairs[i, j] = at[i] @ block @ at[j].T
            used += block.size
        return one_hot_qubo(linear, pairs, self._offset)


class Horseshoe:
    """The state of a Gibbs sampler of p coefficients under a horseshoe prior. noise: its variance, if it is known."""

    def __init__(self, p: int, noise: float | None = None) -> None:
        self.local: Floats = np.ones(p)  # lambda^2
        self.local_aux: Floats = np.ones(p)  # nu
        self.overall, self.overall_aux = 1.0, 1.0  # tau^2, xi
        self.noise, self._known = (1.0, False) if noise is None else (noise, True)  # sigma^2

    def step(self, features: Floats, values: Floats, rng: np.random.Generator) -> Floats:
        """One sweep on features [N, p] and values [N]: the coefficients, float64 [p]."""
        n, p = features.shape
        drawn = coefficients(features, values, self.noise * self.overall * self.local, self.noise, rng)
        squared = drawn * drawn
        rest = values - features @ drawn
        if not self._known:
            scaled = float((squared / self.local).sum())
            self.noise = _inverse_gamma((n + p) / 2, (float(rest @ rest) + scaled / self.overall) / 2, rng)
        self.local = np.maximum(
            (1 / self.local_aux + squared / (2 * self.overall * self.noise)) / rng.exponential(size=p), TINY
        )
        scaled = float((squared / self.local).sum())
        rate = 1 / self.overall_aux + scaled / (2 * self.noise)
        self.overall = _inverse_gamma((p + 1) / 2, rate, rng)
        self.local_aux = (1 + 1 / self.local) / rng.exponential(size=p)
        self.overall_aux = (1 + 1 / self.overall) / float(rng.exponential())
        return drawn


def coefficients(features: Floats, values: Floats, variances: Floats, noise: float, rng: np.random.Generator) -> Floats:
    """A draw of a [p] given values = features a + N(0, noise), a ~ N(0, diag(variances)), at N^2 p.

    Its law is N(A^-1 features' values / noise, A^-1) with A = features' features / noise + diag(1 / variances).
    """
    scaled = features / np.sqrt(noise)  # [N, p]
    start = np.sqrt(variances) * rng.normal(size=len(variances))
    misses = values / np.sqrt(noise) - scaled @ start - rng.normal(size=len(values))
    spread = scaled * variances  # [N, p]
    inner = spread @ scaled.T
    inner[np.diag_indices(len(inner))] += 1.0
    return np.asarray(start + spread.T @ np.linalg.solve(inner, misses))


def _features(bits: list[Floats]) -> Floats:
    """All bits and all pairs of bits of different parameters, float64 [N, p]."""
    pairs = [(a[:, :, None] * b[:, None, :]).reshape(len(a), -1) for a, b in combinations(bits, 2)]
    return np.concatenate([*bits, *pairs], axis=1)


def _split(vector: Floats, sizes: list[int]) -> list[Floats]:
    """The first parts of a vector, of these sizes."""
    return np.split(vector[: sum(sizes)], np.cumsum(sizes)[:-1])


def _inverse_gamma(shape: float, rate: float, rng: np.random.Generator) -> float:
    return max(rate / float(rng.gamma(shape)), TINY)
