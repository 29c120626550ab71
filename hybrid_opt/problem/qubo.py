"""Qubo: the one problem that every solver takes."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_opt.errors import ProblemError
from hybrid_opt.problem import clipping, constraints, enumeration
from hybrid_opt.problem.constraints import Weight
from hybrid_opt.problem.enumeration import FeasibleSpace
from hybrid_opt.problem.quadratic import Bits, Floats, Quadratic, square
from hybrid_opt.reals import real, reals

SPARSE = 8  # entries to each that is not zero, from which a matrix is better taken entry by entry


class Qubo(Quadratic):
    """Minimise energy(x) = x'Mx + offset over x in {0, 1}^n, subject to its constraints.

    matrix: [n, n], numpy or torch, any real type, symmetric or not; kept in float64. one_hot: disjoint tuples of
    indices, exactly one variable of each is 1. cardinality: k, with sum(x) = k. labels: names of the variables, by
    default 0..n-1. Constraints are part of the problem, not of the energy: `feasible` tells whether bits obey them.

    Raises ProblemError for a matrix that is not square or not finite, and for constraints that contradict.
    """

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
        fields, j, constant = reals(h, "h"), square(couplings, "J"), real(offset, "offset")
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
        bits, energies = enumeration.k_best(self.clipped(), k)
        return bits, energies if self.clipped() is self else self.energy(bits)

    def centred(self) -> "Qubo":
        """The same problem without its offset, which would round away what differs between its states."""
        if not self.offset:
            return self
        made = Qubo(self.matrix, one_hot=self.one_hot, cardinality=self.cardinality, labels=self.labels)
        low, high = self.objective_range
        made.__dict__["objective_range"] = (low - self.offset, high - self.offset)
        return made

    def clipped(self) -> "Qubo":
        """The same order of all states, with coefficients that forbid, such as 1e17 among ones, cut to what suffices.

        Solvers search and rank by it: beside such coefficients floats round the others away. Itself without any.
        """
        return self._clipped or self

    @cached_property
    def _clipped(self) -> "Qubo | None":
        return clipping.clipped(self)

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
