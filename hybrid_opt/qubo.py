"""Qubo: the one problem that every solver takes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_opt.errors import ProblemError

Floats = NDArray[np.float64]
Bits = NDArray[np.uint8]


class Qubo:
    """Minimise energy(x) = x'Mx + offset over x in {0, 1}^n, subject to its constraints.

    matrix: [n, n], numpy or torch, any real type, symmetric or not; kept in float64. one_hot: disjoint tuples of
    indices, exactly one variable of each is 1. cardinality: k, with sum(x) = k. labels: names of the variables, by
    default 0..n-1. Constraints are part of the problem, not of the energy: `feasible` tells whether bits obey them.

    Raises ProblemError for a matrix that is not square or not finite, and for constraints that contradict.
    """

    def __init__(
        self,
        matrix: ArrayLike | Any,
        offset: float = 0.0,
        *,
        one_hot: Iterable[Sequence[int]] = (),
        cardinality: int | None = None,
        labels: Sequence[Any] | None = None,
    ) -> None:
        self.matrix: Floats = _matrix(matrix)
        self.n = len(self.matrix)
        self.offset = float(offset)
        if not np.isfinite(self.offset):
            raise ProblemError(f"offset={offset}: must be finite")
        self.one_hot: tuple[tuple[int, ...], ...] = _blocks(one_hot, self.n)
        self.cardinality = _cardinality(cardinality, self.n, self.one_hot)
        self.labels: tuple[Any, ...] = tuple(range(self.n)) if labels is None else tuple(labels)
        if len(self.labels) != self.n or len(set(self.labels)) != self.n:
            raise ProblemError(f"labels: {len(self.labels)} given; {self.n} different ones are accepted")

    def __repr__(self) -> str:
        rules = f", {len(self.one_hot)} one-hot blocks" if self.one_hot else ""
        rules += f", cardinality {self.cardinality}" if self.cardinality is not None else ""
        return f"Qubo({self.n} variables{rules})"

    def energy(self, bits: ArrayLike) -> Any:
        """x'Mx + offset of bits [..., n], float64 [...]; a float for [n]."""
        x = np.asarray(bits, np.float64)
        energies = np.einsum("...i,...i->...", x @ self.matrix, x) + self.offset
        return float(energies) if energies.ndim == 0 else energies

    def feasible(self, bits: ArrayLike) -> Any:
        """Whether bits [..., n] obey all constraints, bool [...]; a bool for [n]."""
        x = np.asarray(bits)
        good = np.ones(x.shape[:-1], np.bool_)
        for block in self.one_hot:
            good &= x[..., list(block)].sum(-1) == 1
        if self.cardinality is not None:
            good &= x.sum(-1) == self.cardinality
        return bool(good) if good.ndim == 0 else good

    @property
    def constrained(self) -> bool:
        """Whether there are bits that are not feasible."""
        return bool(self.one_hot) or self.cardinality is not None


def _matrix(matrix: Any) -> Floats:
    """A copy in float64, that cannot be written to. torch tensors of any device are taken too."""
    if hasattr(matrix, "detach"):
        matrix = matrix.detach().cpu().double().numpy()
    try:
        array = np.array(matrix, np.float64)
    except (TypeError, ValueError) as error:
        raise ProblemError(f"matrix: not a matrix of real numbers ({error})") from error
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not len(array):
        raise ProblemError(f"matrix: shape {array.shape}; [n, n] is accepted")
    if not np.isfinite(array).all():
        raise ProblemError(f"matrix: {(~np.isfinite(array)).sum()} entries are NaN or infinite")
    array.flags.writeable = False
    return array


def _blocks(one_hot: Iterable[Sequence[int]], n: int) -> tuple[tuple[int, ...], ...]:
    blocks = tuple(tuple(int(i) for i in block) for block in one_hot)
    used = [i for block in blocks for i in block]
    if any(not block for block in blocks) or any(not 0 <= i < n for i in used) or len(set(used)) != len(used):
        raise ProblemError(f"one_hot={blocks}: disjoint, non-empty tuples of indices 0..{n - 1} are accepted")
    return blocks


def _cardinality(cardinality: int | None, n: int, blocks: tuple[tuple[int, ...], ...]) -> int | None:
    if cardinality is None:
        return None
    low, high = len(blocks), n - sum(len(block) - 1 for block in blocks)
    if cardinality != int(cardinality) or not low <= cardinality <= high:
        raise ProblemError(f"cardinality={cardinality}: an integer from {low} to {high} is accepted")
    return int(cardinality)
