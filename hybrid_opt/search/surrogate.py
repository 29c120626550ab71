"""Surrogates: what a search has observed, as a Qubo whose optimum is the next proposal."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.parts import Parts
from hybrid_opt.problem.qubo import Qubo

Floats = NDArray[np.float64]
Levels = Sequence[Floats]  # of each parameter, the positions that the Qubo may choose from, each a bit

SURROGATES = Parts("surrogate", "hybrid_opt.search.surrogates", "Surrogate")


@dataclass(frozen=True)
class Observations:
    """N evaluated points of d parameters, oldest first.

    positions: float64 [N, d]; of an ordered parameter within [0, 1], of another the number of its option; NaN where the
    point does not have the parameter. values: float64 [N], to be minimised, about standardised (see `robust`).
    ordered: of each parameter.
    """

    positions: Floats
    values: Floats
    ordered: tuple[bool, ...]

    def recent(self, window: int) -> "Observations":
        """The last `window` points, and the best one."""
        if len(self.values) <= window:
            return self
        kept = np.arange(len(self.values) - window, len(self.values))
        best = int(self.values.argmin())
        if best < kept[0]:
            kept[0] = best
        return Observations(self.positions[kept], self.values[kept], self.ordered)


class Surrogate(ABC):
    """Base of all surrogates: `fit` to the observations, then ask for problems over any levels.

    An energy is the predicted value of the point that the bits choose: a one-hot block a parameter, a bit a level.
    Config: the pydantic dataclass of its options.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Any]]

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def fit(self, observations: Observations, rng: np.random.Generator) -> None:
        """Learn from the observations; what was learned from earlier ones of the same parameters is the start."""

    @abstractmethod
    def mean(self, levels: Levels) -> Qubo:
        """The expected value of every choice of levels, as a Qubo."""

    @abstractmethod
    def qubo(self, levels: Levels, rng: np.random.Generator) -> Qubo:
        """The problem to minimise for the next proposal: the mean, or a draw from the posterior."""

    def predict(self, positions: Floats) -> Floats:
        """The expected values of points [S, d], float64 [S]."""
        return np.array(
            [self.mean([np.array([at]) for at in point]).energy(np.ones(len(point))) for point in positions]
        )


def make_surrogate(name: str, options: Mapping[str, Any] | None = None) -> Surrogate:
    """Make a surrogate: smooth, factorization, sparse, or `module:Class`.

    Raises ProblemError for an unknown name or option, or a value that is not accepted.
    """
    surrogate, config = SURROGATES.configured(name, "surrogate", options or {})
    made: Surrogate = surrogate(config)
    return made


def one_hot_qubo(linear: Sequence[Floats], pairs: Mapping[tuple[int, int], Floats], offset: float) -> Qubo:
    """offset + sum_i linear_i[l_i] + sum_{i<j} pairs_ij[l_i, l_j] over levels l, as a Qubo with one-hot blocks.

    Labels are (parameter, level).
    """
    sizes = [len(part) for part in linear]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    matrix = np.diag(np.concatenate(linear))
    for (i, j), block in pairs.items():
        matrix[starts[i] : starts[i + 1], starts[j] : starts[j + 1]] = block
    blocks = [tuple(range(start, start + size)) for start, size in zip(starts[:-1].tolist(), sizes, strict=True)]
    labels = [(i, level) for i, size in enumerate(sizes) for level in range(size)]
    return Qubo(matrix, offset, one_hot=blocks, labels=labels)


def membership(positions: Floats, levels: Floats, ordered: bool) -> Floats:
    """How much of each bit a position has, float64 [N, L]: 1 at a level, shared by the two levels around it.

    Positions beyond the levels count as the nearest one, an option that is no level, or NaN, as none.
    """
    if not ordered or len(levels) == 1:
        same = positions[:, None] == levels if not ordered else np.isfinite(positions)[:, None]
        return same.astype(np.float64)
    known = np.isfinite(positions)
    at = np.clip(np.where(known, positions, levels[0]), levels[0], levels[-1])
    right = np.clip(np.searchsorted(levels, at, side="right"), 1, len(levels) - 1)
    part = (at - levels[right - 1]) / (levels[right] - levels[right - 1])
    shares = np.zeros((len(positions), len(levels)))
    rows = np.arange(len(positions))
    shares[rows, right - 1] = 1 - part
    shares[rows, right] = part
    return np.asarray(shares * known[:, None])
