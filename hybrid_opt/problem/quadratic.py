"""Quadratic: an energy of bits and the constraints on them, which all that works on a Qubo builds upon."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from numbers import Real
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_opt.errors import ProblemError
from hybrid_opt.reals import HUGE, real, reals

Floats = NDArray[np.float64]
Bits = NDArray[np.integer[Any]]  # results are int8, so that 1 - 2x of them are spins


class Quadratic:
    """energy(x) = x'Mx + offset of x in {0, 1}^n, and which x are feasible. See Qubo for the arguments."""

    def __init__(
        self,
        matrix: ArrayLike | Any,
        offset: float = 0.0,
        *,
        one_hot: Iterable[Sequence[int]] = (),
        cardinality: int | None = None,
        labels: Sequence[Any] | None = None,
    ) -> None:
        self.matrix: Floats = square(matrix)
        self.n = len(self.matrix)
        self.offset = real(offset, "offset")
        if not np.isfinite(self.offset):
            raise ProblemError(f"offset={offset}: must be finite")
        self.one_hot: tuple[tuple[int, ...], ...] = _blocks(one_hot, self.n)
        self.cardinality = _cardinality(cardinality, self.n, self.one_hot)
        try:
            self.labels: tuple[Any, ...] = tuple(range(self.n)) if labels is None else tuple(labels)
            different = len(set(self.labels))
        except TypeError as error:
            raise ProblemError(f"labels: {error}; hashable ones are accepted") from None
        if len(self.labels) != self.n or different != self.n:
            raise ProblemError(f"labels: {len(self.labels)} given; {self.n} different ones are accepted")

    def __repr__(self) -> str:
        rules = f", {len(self.one_hot)} one-hot blocks" if self.one_hot else ""
        rules += f", cardinality {self.cardinality}" if self.cardinality is not None else ""
        return f"{type(self).__name__}({self.n} variables{rules})"

    def energy(self, bits: ArrayLike) -> Any:
        """x'Mx + offset of bits [..., n], float64 [...]; a float for [n]."""
        energies = self.form(bits) + self.offset
        return float(energies) if np.ndim(energies) == 0 else energies

    def form(self, bits: ArrayLike) -> Any:
        """x'Mx of bits [..., n], float64 [...]: what states are ranked by, since a large offset would round it away."""
        x = self._bits(bits).astype(np.float64)
        return np.einsum("...i,...i->...", x @ self.matrix, x)

    def feasible(self, bits: ArrayLike) -> Any:
        """Whether bits [..., n] obey all constraints, bool [...]; a bool for [n]."""
        x = self._bits(bits)
        good = np.ones(x.shape[:-1], np.bool_)
        for block in self.one_hot:
            good &= x[..., list(block)].sum(-1) == 1
        if self.cardinality is not None:
            good &= x.sum(-1) == self.cardinality
        return bool(good) if good.ndim == 0 else good

    def _bits(self, bits: ArrayLike) -> NDArray[Any]:
        return checked_bits(bits, self.n)

    @cached_property
    def linear(self) -> Floats:
        """d [n] of energy(x) = offset + sum_i d_i x_i + sum_{i<j} q_ij x_i x_j."""
        return self.matrix.diagonal()

    @cached_property
    def couplings(self) -> Floats:
        """q [n, n], symmetric with zeros on the diagonal."""
        couplings: Floats = self.matrix + self.matrix.T
        np.fill_diagonal(couplings, 0.0)
        couplings.flags.writeable = False
        return couplings

    @cached_property
    def objective_range(self) -> tuple[float, float]:
        """Bounds of the energies by the signs of the coefficients; those of penalties are left out."""
        pairs = self.couplings / 2  # every pair is there twice
        low = np.minimum(self.linear, 0.0).sum() + np.minimum(pairs, 0.0).sum()
        high = np.maximum(self.linear, 0.0).sum() + np.maximum(pairs, 0.0).sum()
        return self.offset + float(low), self.offset + float(high)

    @cached_property
    def groups(self) -> tuple[tuple[tuple[int, ...], int], ...]:
        """The constraints as disjoint (indices, k): exactly k of these variables are 1."""
        groups = [(block, 1) for block in self.one_hot]
        if self.cardinality is not None:
            used = {i for block in self.one_hot for i in block}
            free = tuple(i for i in range(self.n) if i not in used)
            groups += [(free, self.cardinality - len(self.one_hot))] if free else []
        return tuple(groups)

    @property
    def constrained(self) -> bool:
        """Whether there are bits that are not feasible."""
        return bool(self.one_hot) or self.cardinality is not None


def checked_bits(bits: ArrayLike | Any, n: int) -> NDArray[Any]:
    """bits [..., n] as an array. Raises ProblemError for another shape, and for other values than 0 and 1."""
    if hasattr(bits, "detach"):  # torch, of any device
        bits = bits.detach().cpu()
    try:
        x = np.asarray(bits)
    except (TypeError, ValueError) as error:
        raise ProblemError(f"bits: {error}; 0 and 1 of shape [..., {n}] are accepted") from None
    if not x.ndim or x.shape[-1] != n:
        raise ProblemError(f"bits: shape {x.shape}; [..., {n}] is accepted")
    if x.dtype != np.bool_ and not ((x == 0) | (x == 1)).all():
        wrong = x[(x != 0) & (x != 1)].flat[0]
        raise ProblemError(f"bits: {wrong} is among them; 0 and 1 are accepted; of spins s, (1 - s) / 2")
    return x


def square(matrix: Any, name: str = "matrix") -> Floats:
    """A copy in float64, that cannot be written to."""
    array = reals(matrix, name)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not len(array):
        raise ProblemError(f"{name}: shape {array.shape}; [n, n] is accepted")
    if not np.isfinite(array).all():
        raise ProblemError(f"{name}: {(~np.isfinite(array)).sum()} entries are NaN or infinite")
    if (largest := max(array.max(), -array.min())) > HUGE:
        raise ProblemError(
            f"{name}: an entry of size {largest:g}; up to {HUGE:g} are accepted, whose squares are finite"
        )
    array.flags.writeable = False
    return array


def _blocks(one_hot: Iterable[Sequence[int]], n: int) -> tuple[tuple[int, ...], ...]:
    accepted = f"disjoint, non-empty tuples of indices 0..{n - 1} are accepted"
    try:
        blocks = tuple(tuple(index(i) for i in block) for block in one_hot)
    except TypeError:  # a flat sequence, labels, or numbers that are no integers
        raise ProblemError(f"one_hot={one_hot}: {accepted}") from None
    used = [i for block in blocks for i in block]
    if any(not block for block in blocks) or any(not 0 <= i < n for i in used) or len(set(used)) != len(used):
        raise ProblemError(f"one_hot={blocks}: {accepted}")
    return blocks


def _cardinality(cardinality: Any, n: int, blocks: tuple[tuple[int, ...], ...]) -> int | None:
    if cardinality is None:
        return None
    low, high = len(blocks), n - sum(len(block) - 1 for block in blocks)
    number: Any = cardinality if isinstance(cardinality, Real) and not isinstance(cardinality, bool) else -1
    if not low <= number <= high or number != int(number):
        raise ProblemError(f"cardinality={cardinality}: an integer from {low} to {high} is accepted")
    return int(cardinality)
