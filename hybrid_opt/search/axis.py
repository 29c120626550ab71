"""A parameter of a search: its values as positions, and the levels that a proposal may choose from."""

from functools import cached_property
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hybrid_opt.errors import ProblemError

Floats = NDArray[np.float64]
COARSE = 0.25  # of the range: the widest step around an incumbent
FINEST = 1e-4  # of the range: the smallest
HALVING = 12  # observations after which the smallest step is halved


class Axis:
    """An Optuna distribution on [0, 1].

    Floats and integers are ordered: position 0 is the least value, 1 the greatest, by logarithms where the distribution
    is logarithmic. So are the options of a categorical distribution that are all numbers: evenly spaced, in their
    order. Other options have no order: their position is their number.

    Raises ProblemError for a distribution that is none of Optuna's three.
    """

    def __init__(self, name: str, distribution: BaseDistribution) -> None:
        if not isinstance(distribution, CategoricalDistribution | FloatDistribution | IntDistribution):
            raise ProblemError(f"{name}: {distribution}; categorical, float and integer distributions are accepted")
        self.name, self.distribution = name, distribution
        self.order = _order(distribution)
        self.ordered = self.order is not None

    @cached_property
    def count(self) -> int | None:
        """How many values there are; None for a continuum."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return len(d.choices)
        if d.step is None:
            return 1 if d.low == d.high else None
        return round((d.high - d.low) / d.step) + 1

    def bits(self, most: int) -> int:
        """How many levels it gets, where ordered ones get at most so many."""
        count = self.count or most
        return min(count, most) if self.ordered else count

    def position(self, value: Any) -> float:
        """Where a value is. Raises ValueError for one that is not in the distribution."""
        d = self.distribution
        inner = d.to_internal_repr(value)
        if isinstance(d, CategoricalDistribution):
            if self.order is None:
                return inner
            return self.order.index(int(inner)) / max(1, len(self.order) - 1)
        low, high = float(d.low), float(d.high)
        if low == high:
            return 0.0
        if d.log:
            if high / low == inf:
                return float((np.log(inner) - np.log(low)) / (np.log(high) - np.log(low)))
            return float(np.log(inner / low) / np.log(high / low))
        if high - low == inf:  # wider than the greatest float
            return (inner / 2 - low / 2) / (high / 2 - low / 2)
        return (inner - low) / (high - low)

    def value(self, position: float) -> Any:
        """The value at a position, or the nearest one."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            if self.order is None:
                return d.choices[int(position)]
            return d.choices[self.order[round(position * (len(self.order) - 1))]]
        low, high = float(d.low), float(d.high)
        if d.log and high / low == inf:  # its logarithm is within the range of floats
            inner = float(np.exp((1 - position) * np.log(low) + position * np.log(high)))
        else:
            inner = low * (high / low) ** position if d.log else _between(low, high, position)
        if d.step is not None:  # for integers it is 1 at least
            inner = low + round((inner - low) / d.step) * d.step
        inner = min(max(inner, low), high)
        return int(inner) if isinstance(d, IntDistribution) else inner

    def snap(self, positions: Floats) -> Floats:
        """Positions of values: sorted, each once."""
        return np.unique([self.position(self.value(float(at))) for at in np.clip(positions, 0.0, 1.0)])

    def stratum(self, number: int, strata: int, inside: float) -> Any:
        """A value from one of so many equal parts of the axis: the part's middle one where values are few, else at
        `inside`, in [0, 1), of the part. Every value of a few has a part where there are as many parts.
        """
        if self.ordered and (self.count is None or self.count > strata):
            return self.value((number + inside) / strata)
        return self._at((2 * number + 1) * (self.count or 1) // (2 * strata))

    def levels(self, most: int, incumbent: float | None, seen: int, rng: np.random.Generator) -> Floats:
        """Positions to choose from, ascending: all values where the axis has no order or few of them.

        Else an even grid while there is no incumbent. Then half of them cover the range, anew each time, and half
        surround the incumbent at random distances, from a quarter of the range down to a smallest one that is halved
        every 12 of the `seen` observations.
        """
        if not self.ordered:
            return np.arange(self.count or 1, dtype=np.float64)
        if self.count is not None and self.count <= most:
            return self._all
        if incumbent is None or not np.isfinite(incumbent):
            return self.snap(np.linspace(0.0, 1.0, most, dtype=np.float64))
        around = max(1, (most // 2 - 1) // 2 * 2)
        finest = max(FINEST, COARSE * 0.5 ** (seen / HALVING))
        steps = np.exp(rng.uniform(np.log(finest), np.log(COARSE), around))
        steps[::2] *= -1
        cover = most - around - 1
        return self.snap(
            np.concatenate([[incumbent], incumbent + steps, (np.arange(cover) + rng.random(cover)) / cover])
        )

    @cached_property
    def _all(self) -> Floats:
        return np.array([self.position(self._at(level)) for level in range(self.count or 1)])

    def _at(self, level: int) -> Any:
        """The value of this number, of an axis that is no continuum."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return d.choices[self.order[level] if self.order else level]
        value = min(d.low + level * (d.step or 0), d.high)
        return int(value) if isinstance(d, IntDistribution) else value


def _between(low: float, high: float, position: float) -> float:
    """The point of a range, also of one that is wider than the greatest float."""
    width = high - low
    return low + position * width if width < inf else (1 - position) * low + position * high


def _order(distribution: BaseDistribution) -> list[int] | None:
    """The numbers of the options by value; None for options without an order. [] for numerical distributions."""
    if not isinstance(distribution, CategoricalDistribution):
        return []
    choices = distribution.choices
    if any(isinstance(choice, bool) or not isinstance(choice, int | float) for choice in choices):
        return None
    numbers = [float(choice) for choice in choices if isinstance(choice, int | float)]
    if not np.isfinite(numbers).all() or len(set(numbers)) < len(numbers) or len(numbers) < 3:
        return None
    return sorted(range(len(numbers)), key=numbers.__getitem__)
