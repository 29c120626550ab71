"""The factorisation machine: pairs of bits interact through products of short vectors."""

from itertools import combinations
from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.search.surrogate import Floats, Levels, Observations, Surrogate, membership, one_hot_qubo
from hybrid_opt.search.surrogates.knots import knots, memberships


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class FactorizationConfig:
    """rank: of the interactions. penalty: on squared weights, in units of the noise. sweeps: over all parameters in
    each fit, from the weights of the last one. window: the most recent observations that are learned, with the best
    one: more of them make the machine stagnate. knots: the most bits of an ordered parameter. scale: deviation of the
    vectors that a new fit starts from.
    """

    rank: PositiveInt = 8
    penalty: PositiveFloat = 0.1
    sweeps: PositiveInt = 3
    window: PositiveInt = 100
    knots: Annotated[int, Field(ge=4)] = 16
    scale: PositiveFloat = 0.1


class FactorizationMachine(Surrogate):
    """value = w0 + sum_i w_i b_i + sum_{i<j} <v_i, v_j> b_i b_j over bits of different parameters (Rendle 2010).

    The surrogate of FMQA (Kitai et al. 2020, arXiv 1907.05574). Least squares with a penalty; the weights and vectors
    of one parameter's bits enter linearly, so each step solves for all of them exactly. A position between two knots
    has a share of both bits. It explores by nothing but not repeating itself.
    """

    name = "factorization"
    Config = FactorizationConfig

    def __init__(self, config: FactorizationConfig) -> None:
        super().__init__(config)
        self._ordered: tuple[bool, ...] = ()
        self._grids: list[Floats] = []
        self._offset = 0.0
        self._weights: list[Floats] = []  # of each parameter [bits, 1 + rank]: w beside v

    def fit(self, observations: Observations, rng: np.random.Generator) -> None:
        seen = observations.recent(self.config.window)
        grids = knots(seen, self.config.knots)
        fresh = [rng.normal(0.0, self.config.scale, (len(grid), 1 + self.config.rank)) for grid in grids]
        if self._ordered == seen.ordered:
            for i, grid in enumerate(grids):
                shares = membership(grid, self._grids[i], self._ordered[i])
                known = shares.any(1)
                fresh[i][known] = (shares @ self._weights[i])[known]
        self._ordered, self._grids, self._weights = seen.ordered, grids, fresh
        bits = memberships(seen.positions, grids, seen.ordered)
        for _ in range(self.config.sweeps):
            for i in rng.permutation(len(grids)).tolist():
                self._solve(i, bits, seen.values)

    def mean(self, levels: Levels) -> Qubo:
        at = [
            membership(np.asarray(level), grid, ordered) @ weights
            for level, grid, ordered, weights in zip(levels, self._grids, self._ordered, self._weights, strict=True)
        ]
        pairs = {(i, j): at[i][:, 1:] @ at[j][:, 1:].T for i, j in combinations(range(len(at)), 2)}
        return one_hot_qubo([part[:, 0] for part in at], pairs, self._offset)

    def qubo(self, levels: Levels, rng: np.random.Generator) -> Qubo:
        return self.mean(levels)

    def _solve(self, i: int, bits: list[Floats], values: Floats) -> None:
        """Set the weights and vectors of parameter i, and the offset, to the best for those of all others."""
        parts = [shares @ weights for shares, weights in zip(bits, self._weights, strict=True)]  # [N, 1 + rank]
        others = np.sum([part for j, part in enumerate(parts) if j != i], axis=0) if len(parts) > 1 else 0 * parts[0]
        crossed = 0.5 * (
            (others[:, 1:] ** 2).sum(1) - sum((p[:, 1:] ** 2).sum(1) for j, p in enumerate(parts) if j != i)
        )
        target = values - others[:, 0] - crossed
        columns = np.column_stack([np.ones(len(values)), others[:, 1:]])  # what the weights of a bit are multiplied by
        features = (bits[i][:, :, None] * columns[:, None, :]).reshape(len(values), -1)
        self._offset = float((target - features @ self._weights[i].ravel()).mean())
        gram = features.T @ features
        gram[np.diag_indices(len(gram))] += self.config.penalty
        solved = np.linalg.solve(gram, features.T @ (target - self._offset))
        self._weights[i] = solved.reshape(self._weights[i].shape)
