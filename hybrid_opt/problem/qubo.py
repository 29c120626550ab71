"""Qubo: the one problem that every solver takes."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from numbers import Real
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_opt.errors import ProblemError
from hybrid_opt.problem import constraints, enumeration
from hybrid_opt.problem.constraints import Weight
from hybrid_opt.problem.enumeration import FeasibleSpace
from hybrid_opt.reals import HUGE, real, reals

Floats = NDArray[np.float64]
Bits = NDArray[np.integer[Any]]  # results are int8, so that 1 - 2x of them are spins
SPARSE = 8  # entries to each that is not zero, from which a matrix is better taken entry by entry


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
        return f"Qubo({self.n} variables{rules})"

    @staticmethod
    def from_bqm(bqm: Any) -> "Qubo":
        """A dimod BinaryQuadraticModel, BINARY or SPIN (s = 1 - 2x, unlike dimod's own change of type)."""
        if not hasattr(bqm, "to_numpy_vectors"):
            kind = type(bqm).__name__
            raise ProblemError(f"bqm: a {kind}; a dimod BinaryQuadraticModel is accepted")
        labels = list(bqm.variables)
        if not labels:
            raise ProblemError("bqm: it has no variables; at least one is needed")
        linear, (rows, columns, values), offset = bqm.to_numpy_vectors(variable_order=labels)
        matrix = np.zeros((len(labels), len(labels)))
        matrix[rows, columns] = values  # every pair is there once
        if bqm.vartype.name == "SPIN":
            return Qubo.from_ising(linear, matrix, offset, labels=labels)
        np.fill_diagonal(matrix, linear)
        return Qubo(matrix, offset, labels=labels)

    def to_bqm(self) -> Any:
        """The energy as a BINARY dimod BinaryQuadraticModel. Constraints are not part of it; see `penalised`."""
        from dimod import BINARY, BinaryQuadraticModel

        if np.count_nonzero(self.matrix) * SPARSE < self.n**2:
            rows, columns = np.nonzero(self.couplings)
            rows, columns = rows[rows < columns], columns[rows < columns]
            pairs = rows, columns, self.couplings[rows, columns]
            bqm: Any = BinaryQuadraticModel.from_numpy_vectors(self.linear, pairs, self.offset, BINARY)
        else:
            bqm = BinaryQuadraticModel(np.triu(self.couplings) + np.diag(self.linear), BINARY)
            bqm.offset = self.offset
        if self.labels != tuple(range(self.n)):
            bqm.relabel_variables(dict(enumerate(self.labels)))
        return bqm

    @staticmethod
    def from_ising(
        h: ArrayLike, couplings: ArrayLike, offset: float = 0.0, *, labels: Sequence[Any] | None = None
    ) -> "Qubo":
        """offset + h's + s'Js with s = 1 - 2x in {-1, 1}^n; h [n], J [n, n], symmetric or not."""
        if isinstance(h, Mapping) or isinstance(couplings, Mapping):
            raise ProblemError("h, J: mappings; arrays [n] and [n, n] are accepted, and Qubo.from_bqm of a dimod model")
        fields, j, constant = reals(h, "h"), _matrix(couplings, "J"), real(offset, "offset")
        if fields.shape != (len(j),):
            raise ProblemError(f"h: shape {fields.shape}; [{len(j)}] is accepted")
        q = j + j.T
        np.fill_diagonal(q, 0.0)
        return Qubo(2 * q - np.diag(2 * fields + 2 * q.sum(1)), constant + fields.sum() + j.sum(), labels=labels)

    def to_ising(self) -> tuple[Floats, Floats, float]:
        """h [n], J [n, n] upper triangular and an offset: energy = offset + h's + s'Js with s = 1 - 2x."""
        pairs = self.couplings / 4
        fields = -self.linear / 2 - pairs.sum(1)
        return fields, np.triu(pairs), self.offset + float(self.linear.sum() / 2 + pairs.sum() / 2)

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

    def diagonal(self) -> Floats:
        """The energies of all 2^n basis states, feasible or not, float64 [2^n].

        Raises ProblemError above 24 variables.
        """
        return enumeration.diagonal(self)

    def feasible_space(self) -> FeasibleSpace:
        """The feasible states, numbered, and their energies."""
        return FeasibleSpace(self)

    def minimum(self) -> tuple[Bits, float]:
        """A feasible state of least energy, and that energy. Raises ProblemError above 2^24 feasible states."""
        bits, energies = self.k_best(1)
        return bits[0], float(energies[0])

    def k_best(self, k: int) -> tuple[Bits, Floats]:
        """The k feasible states of least energy (all, where there are fewer) in ascending order: [k, n], [k].

        Raises ProblemError above 2^24 feasible states.
        """
        return enumeration.k_best(self, k)

    def centred(self) -> "Qubo":
        """The same problem without its offset, which would round away what differs between its states."""
        if not self.offset:
            return self
        made = Qubo(self.matrix, one_hot=self.one_hot, cardinality=self.cardinality, labels=self.labels)
        low, high = self.objective_range
        made.__dict__["objective_range"] = (low - self.offset, high - self.offset)
        return made

    def relaxed(self) -> "Qubo":
        """The same energies without constraints."""
        return Qubo(self.matrix, self.offset, labels=self.labels)

    def penalised(self, weight: Weight = "auto") -> "Qubo":
        """Its constraints as quadratic penalties: energies of feasible states stay, those of all others go up.

        weight: of every penalty, or "auto": for each constraint one that provably leaves the optimum where it is.
        """
        return constraints.penalised(self, weight)

    def with_constraint(
        self,
        coefficients: Mapping[Any, float] | Sequence[float] | NDArray[Any],
        value: float | None = None,
        *,
        bounds: tuple[float | None, float | None] | None = None,
        weight: Weight = "auto",
    ) -> "Qubo":
        """a'x = value or low <= a'x <= high, as a quadratic penalty.

        coefficients: a, integers, [n] or by label. bounds: either may be None; variables ("slack", i) are appended for
        them. weight: of the penalty, or "auto": one that provably makes the constrained optimum the optimum.

        Raises ProblemError for coefficients that are no integers, for a constraint that can never hold, and where a
        cardinality would count slack bits.
        """
        return constraints.with_constraint(self, coefficients, value, bounds=bounds, weight=weight)

    def repair(self, bits: ArrayLike) -> tuple[Bits, NDArray[np.int64]]:
        """Feasible bits at the least Hamming distance from bits [..., n], and that distance [...].

        Of equally near ones, the one that keeps and sets the first variables of each constraint.
        """
        return constraints.repair(self, self._bits(bits))

    def shuffled(self, rng: np.random.Generator) -> "Qubo":
        """The control: the same coefficients in random places, under the same constraints.

        Linear ones stay linear, couplings inside one-hot blocks, which never count, stay inside.
        """
        return constraints.shuffled(self, rng)

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


def _matrix(matrix: Any, name: str = "matrix") -> Floats:
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
