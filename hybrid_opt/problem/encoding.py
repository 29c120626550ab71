"""Choices as bits, and back."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, isfinite, log
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.constraints import Weight, with_domain_walls
from hybrid_opt.problem.quadratic import Bits, checked_bits
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.reals import real

Code = Literal["one_hot", "domain_wall", "binary"]


@dataclass(frozen=True)
class Choice:
    """One of K values, in the bits of a code. Make it by categorical, ordinal, integer or floating.

    scale: None where values have to be met exactly, else how far apart two numbers are when the nearest level is taken.
    code: one_hot: K bits, bit i for value i. domain_wall: K - 1 bits, the first i of them 1 (Chancellor 2019, arXiv
    1903.05068). binary: ceil(log2 K) bits, bit 0 the least significant.
    """

    name: Any
    values: tuple[Any, ...]
    code: Code = "one_hot"
    scale: Literal["linear", "log"] | None = None

    def __post_init__(self) -> None:
        if self.code not in get_args(Code):
            raise ProblemError(f"code={self.code}: {', '.join(get_args(Code))} are accepted")
        if not self.values:
            raise ProblemError(f"{self.name}: no values; at least one is needed")

    @staticmethod
    def categorical(name: Any, options: Iterable[Any], code: Code = "one_hot") -> "Choice":
        """One of the options, which have no order."""
        return Choice(name, tuple(options), code)

    @staticmethod
    def ordinal(name: Any, levels: Iterable[Any], code: Code = "domain_wall") -> "Choice":
        """One of the levels, in their order."""
        return Choice(name, tuple(levels), code)

    @staticmethod
    def integer(
        name: Any, low: int, high: int, levels: int | None = None, *, log: bool = False, code: Code = "domain_wall"
    ) -> "Choice":
        """An integer from low to high: every one, or a grid of (at most) so many levels, even or in even ratios."""
        _check_range(name, low, high, levels, log)
        if int(low) != low or int(high) != high:
            raise ProblemError(f"{name}: low={low}, high={high}; integers are accepted")
        count = int(high) - int(low) + 1
        if levels is None or levels >= count:
            return Choice(name, tuple(range(int(low), int(high) + 1)), code, "log" if log else "linear")
        grid = (np.geomspace if log else np.linspace)(low, high, int(levels))
        values = {min(max(int(value), int(low)), int(high)) for value in np.rint(grid).tolist()}
        return Choice(name, tuple(sorted(values)), code, "log" if log else "linear")

    @staticmethod
    def floating(
        name: Any, low: float, high: float, levels: int, *, log: bool = False, code: Code = "domain_wall"
    ) -> "Choice":
        """A float from low to high, on a grid of levels, even or in even ratios."""
        _check_range(name, low, high, levels, log)
        grid = (np.geomspace if log else np.linspace)(low, high, int(levels) if high > low else 1)
        return Choice(name, tuple(grid.tolist()), code, "log" if log else "linear")

    @cached_property
    def table(self) -> Bits:
        """The bits of every value, uint8 [K, bits]."""
        count = len(self.values)
        if self.code == "one_hot":
            return np.eye(count, dtype=np.uint8)
        if self.code == "domain_wall":
            return np.tri(count, count - 1, -1, dtype=np.uint8)
        places = np.arange((count - 1).bit_length())
        return ((np.arange(count)[:, None] >> places) & 1).astype(np.uint8)

    def level(self, value: Any) -> int:
        """The index of a value, or of the level nearest to a number (the lower of two).

        Raises ProblemError for a value that is no option, and for a number out of range.
        """
        if self.scale is None:
            same = [i for i, known in enumerate(self.values) if known is value or known == value]
            alike = [i for i in same if type(self.values[i]) is type(value)]  # 1, 1.0 and True are equal
            if not same:
                raise ProblemError(f"{self.name}={value!r}: {', '.join(map(repr, self.values))} are accepted")
            return (alike or same)[0]
        low, high = self.values[0], self.values[-1]
        slack = 1e-9 * (high - low)
        if not isinstance(value, int | float | np.number) or not low - slack <= value <= high + slack:
            raise ProblemError(f"{self.name}={value!r}: a number from {low} to {high} is accepted")
        at = (lambda x: log(max(x, low))) if self.scale == "log" else float
        return min(range(len(self.values)), key=lambda i: abs(at(self.values[i]) - at(value)))


@dataclass(frozen=True)
class Decoded:
    """Points of S bit strings, their levels int64 [S, choices], and how many bits were changed for each, int64 [S]."""

    points: list[dict[Any, Any]]
    levels: NDArray[np.int64]
    changed: NDArray[np.int64]

    @property
    def repaired(self) -> int:
        """How many of the bit strings were no code words."""
        return int((self.changed > 0).sum())


class Encoding:
    """A space of choices as n bits, one choice after the other; labels are (name, place).

    Raises ProblemError for names that are not different, and for a space without bits.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        self.choices = tuple(choices)
        self.labels = tuple((choice.name, i) for choice in self.choices for i in range(choice.table.shape[1]))
        self.n = len(self.labels)
        names = [choice.name for choice in self.choices]
        if len(set(names)) != len(names):
            raise ProblemError(f"choices: names {names}; different ones are accepted")
        if not self.n:
            raise ProblemError("choices: nothing to choose; at least one choice of two values is needed")
        ends = np.cumsum([choice.table.shape[1] for choice in self.choices]).tolist()
        self._spans = [range(end - choice.table.shape[1], end) for choice, end in zip(self.choices, ends, strict=True)]

    @property
    def one_hot(self) -> tuple[tuple[int, ...], ...]:
        """The blocks of the one-hot choices."""
        return tuple(tuple(span) for choice, span in self._parts("one_hot"))

    def bits(self, levels: ArrayLike) -> Bits:
        """The bits of levels [..., choices], uint8 [..., n]."""
        chosen = np.asarray(levels)
        return np.concatenate([choice.table[chosen[..., c]] for c, choice in enumerate(self.choices)], axis=-1)

    def encode(self, points: Mapping[Any, Any] | Sequence[Mapping[Any, Any]]) -> Bits:
        """The bits of a point, {name: value}, uint8 [n]; of several, [S, n]. Raises ProblemError; see Choice.level."""
        if isinstance(points, Mapping):
            unknown = set(points) ^ {choice.name for choice in self.choices}
            if unknown:
                raise ProblemError(f"point: {', '.join(map(repr, unknown))} missing or not a choice")
            return self.bits([choice.level(points[choice.name]) for choice in self.choices])
        return np.array([self.encode(point) for point in points], np.uint8).reshape(-1, self.n)

    def decode(self, bits: ArrayLike) -> Decoded:
        """The points of bits [n] or [S, n]; the bits of no point count as the nearest that are one.

        Nearest in Hamming distance, choice by choice; of equally near values the first.
        """
        x = np.atleast_2d(checked_bits(bits, self.n)).astype(np.int64)
        if x.ndim != 2:
            raise ProblemError(f"bits: shape {np.shape(bits)}; [{self.n}] or [S, {self.n}] is accepted")
        levels = np.zeros((len(x), len(self.choices)), np.int64)
        changed = np.zeros(len(x), np.int64)
        for c, (choice, span) in enumerate(zip(self.choices, self._spans, strict=True)):
            part, table = x[:, span.start : span.stop], choice.table.astype(np.int64)
            distances = part.sum(1)[:, None] + table.sum(1) - 2 * part @ table.T  # [S, K]
            levels[:, c] = distances.argmin(1)
            changed += distances.min(1)
        points = [
            {choice.name: choice.values[level] for choice, level in zip(self.choices, row, strict=True)}
            for row in levels.tolist()
        ]
        return Decoded(points, levels, changed)

    def repair(self, bits: ArrayLike) -> tuple[Bits, NDArray[np.int64]]:
        """The nearest bits of a point, uint8 [S, n], and how many were changed [S]; see `decode`."""
        decoded = self.decode(bits)
        return self.bits(decoded.levels), decoded.changed

    def qubo(self, matrix: ArrayLike, offset: float = 0.0, weight: Weight = "auto") -> Qubo:
        """An energy over the bits, as a problem whose optimum is a point.

        One-hot choices become constraints. Domain walls become penalties, and so do binary codes of no power of two,
        with slack variables after the n bits. weight: see `Qubo.with_constraint`.
        """
        qubo = Qubo(matrix, offset, one_hot=self.one_hot, labels=self.labels)
        qubo = with_domain_walls(qubo, [tuple(span) for _, span in self._parts("domain_wall")], weight)
        for choice, span in self._parts("binary"):
            coefficients = {self.labels[i]: 1 << place for place, i in enumerate(span)}
            qubo = qubo.with_constraint(coefficients, bounds=(None, len(choice.values) - 1), weight=weight)
        return qubo

    def _parts(self, code: Code) -> list[tuple[Choice, range]]:
        return [part for part in zip(self.choices, self._spans, strict=True) if part[0].code == code]


def _check_range(name: Any, low: float, high: float, levels: int | None, log: bool) -> None:
    numbers = all(isinstance(end, Real) and isfinite(real(end, str(name))) for end in (low, high))
    if not (numbers and low <= high and isfinite(float(high) - float(low)) and (low > 0 or not log)):
        accepted = "0 < low <= high" if log else "low <= high"
        raise ProblemError(f"{name}: low={low}, high={high}; finite numbers {accepted} are accepted")
    if levels is not None and not (isinstance(levels, Real) and 2 <= levels < inf and levels == int(levels)):
        raise ProblemError(f"{name}: levels={levels}; an integer from 2 is accepted")
