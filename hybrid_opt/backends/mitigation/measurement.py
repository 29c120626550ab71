"""From samples to means: the bases of observables, and the read-out errors that are taken out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.backends.backend import CircuitProgram, Result
from hybrid_opt.backends.local.observables import Basis

Floats = NDArray[np.float64]


class Confusion:
    """Chances of a wrong bit, qubit by qubit; none until `flips` is set.

    flips: float64 [2, n], the chance to read 1 for 0, and 0 for 1. errors: their standard errors.
    """

    def __init__(self, n: int) -> None:
        self.flips, self.errors = np.zeros((2, n)), np.zeros((2, n))

    def spins(self, bits: NDArray[np.uint8]) -> Floats:
        """Unbiased estimates [S, n] of the spins behind bits [S, n]: they exceed 1, and are not clipped."""
        false_one, false_zero = self.flips
        spins: Floats = (1.0 - 2.0 * bits - (false_zero - false_one)) / (1.0 - false_one - false_zero)
        return spins


class Counted:
    """The different states of a result, and how often they came.

    bits: uint8 [U, n]. shares: float64 [P, U], frequencies or probabilities. shots: of a parameter set; None: exact.
    """

    def __init__(self, result: Result, n: int) -> None:
        if result.probabilities:
            self.shares, self.shots = np.stack(result.probabilities), 0
            states: NDArray[np.int64] = np.arange(1 << n, dtype=np.int64)
        else:
            self.shots = len(result.samples[0])
            rows = np.concatenate(result.samples).astype(np.int64) @ (1 << np.arange(n, dtype=np.int64))  # [P S]
            states, found = np.unique(rows, return_inverse=True)
            places = found.reshape(len(result.samples), -1) + len(states) * np.arange(len(result.samples))[:, None]
            size = len(states) * len(result.samples)
            self.shares = np.bincount(places.ravel(), minlength=size).reshape(-1, len(states)) / self.shots
        self.bits = ((states[:, None] >> np.arange(n)) & 1).astype(np.uint8)

    def means(self, basis: Basis, confusion: Confusion) -> tuple[Floats, Floats]:
        """Means [P, m] and their variances, which are infinite after a single shot."""
        spins = confusion.spins(self.bits)  # [U, n]
        terms = np.stack([spins[:, support].prod(1) for support in basis.supports], 1)  # [U, T]
        found = terms @ basis.weights  # [U, m]
        means = self.shares @ found
        if not self.shots:
            return means, np.zeros_like(means)
        if self.shots == 1:
            return means, np.full_like(means, np.inf)
        return means, np.maximum(self.shares @ found**2 - means**2, 0.0) / (self.shots - 1)


class Measured:
    """The programs that measure a program's observables, each in a basis, and the way back to means."""

    def __init__(self, program: CircuitProgram, bases: Sequence[Basis], confusion: Confusion) -> None:
        self.n, self.bases, self.confusion = program.circuit.num_qubits, bases, confusion
        self._counted: list[Counted] | None = None

    def combine(self, results: Sequence[Result]) -> Result:
        """Return the means over all bases, at what `confusion` is now."""
        if self._counted is None:  # counted once; the confusion changes where its errors are propagated
            self._counted = [Counted(result, self.n) for result in results]
        parts = [each.means(basis, self.confusion) for each, basis in zip(self._counted, self.bases, strict=True)]
        return Result(means=sum_of(mean for mean, _ in parts), errors=np.sqrt(sum_of(part for _, part in parts)))


def sum_of(parts: Any) -> Floats:
    """The sum of arrays."""
    total: Floats = np.sum(list(parts), axis=0)
    return total
