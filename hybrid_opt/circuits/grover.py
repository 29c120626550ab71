"""Grover's search for states of less than a given energy, among the feasible ones.

The search starts from the uniform superposition A|0> of the feasible states: H on free bits, Dicke states on one-hot
blocks (k = 1) and under a cardinality (Baertschi and Eidenbenz 2019). An iteration is an oracle, which flips the sign
of the states below the threshold, and the reflection about A|0>.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import asin, sin, sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.qubo import Qubo

OracleName = Literal["comparison", "diagonal"]


@dataclass(frozen=True)
class Rounded:
    """A Qubo with integer coefficients, for arithmetic in a register: energy(x) / unit, up to the rounding.

    Coefficients that are integers are taken as they are. Others are rounded to multiples of the largest one over
    2^precision - 1, which may exchange states whose energies differ by less than (number of terms) x unit / 2 each.
    """

    qubo: Qubo
    precision: int = 6

    @cached_property
    def unit(self) -> float:
        """The energy of 1."""
        values = np.concatenate([self.qubo.linear, self.qubo.couplings.ravel()])
        if (values == np.rint(values)).all() and np.abs(values).max() < 1 << 24:
            return 1.0
        return float(np.abs(values).max()) / ((1 << self.precision) - 1)

    @cached_property
    def terms(self) -> list[tuple[tuple[int, ...], int]]:
        """(variables, coefficient) of one or two variables."""
        linear = np.rint(self.qubo.linear / self.unit).astype(np.int64)
        pairs = np.rint(self.qubo.couplings / self.unit).astype(np.int64)
        terms: list[tuple[tuple[int, ...], int]] = [((int(i),), int(linear[i])) for i in np.flatnonzero(linear)]
        return terms + [((int(i), int(j)), int(pairs[i, j])) for i, j in np.argwhere(np.triu(pairs, 1))]

    @cached_property
    def value_qubits(self) -> int:
        """Qubits of a register that holds any energy's difference from a threshold, in two's complement."""
        low, high = self.bounds
        return (high - low).bit_length() + 1

    @cached_property
    def bounds(self) -> tuple[int, int]:
        """Between which the rounded energies are, without the offset."""
        values = [coefficient for _, coefficient in self.terms]
        return sum(min(value, 0) for value in values), sum(max(value, 0) for value in values)

    def threshold(self, energy: float) -> int:
        """The integer with which rounded energies are compared; beyond the bounds all or none are below it."""
        low, high = self.bounds
        return int(np.clip(np.ceil((energy - self.qubo.offset) / self.unit - 1e-9), low, high + 1))


def grover_circuit(
    qubo: Qubo, threshold: float, iterations: int, oracle: OracleName = "comparison", precision: int = 6
) -> Any:
    """The state after some Grover iterations for energy(x) < threshold: a qiskit QuantumCircuit without parameters.

    Qubit i is variable i. oracle: "comparison" writes energy - threshold into a register of further qubits, flips the
    sign of the state where it is negative, and takes it back (Gilliam, Woerner and Gonciulea 2021): with t qubits of
    register and m coefficients 2 m t controlled phases and two Fourier transforms an iteration, on n + t qubits; see
    `Rounded`. "diagonal" is one phase for each of the 2^n states: n qubits and about 2^n gates, from energies that
    were all computed before; a cross-check for small n, no search.
    """
    from qiskit.circuit import QuantumCircuit

    if iterations < 0:
        raise ProblemError(f"iterations={iterations}: no less than 0 is accepted")
    start, variables = feasible_superposition(qubo), list(range(qubo.n))
    marked = _diagonal(qubo, threshold) if oracle == "diagonal" else _comparison(Rounded(qubo, precision), threshold)
    circuit = QuantumCircuit(marked.num_qubits)
    circuit.compose(start, variables, inplace=True)
    for _ in range(iterations):
        circuit.compose(marked, inplace=True)
        circuit.compose(start.inverse(), variables, inplace=True)
        circuit.x(variables)
        circuit.mcp(np.pi, variables[:-1], variables[-1]) if qubo.n > 1 else circuit.z(0)
        circuit.x(variables)
        circuit.compose(start, variables, inplace=True)
    return circuit


def feasible_superposition(qubo: Qubo) -> Any:
    """A circuit that takes |0> to the uniform superposition of the feasible states."""
    from qiskit.circuit import QuantumCircuit

    circuit = QuantumCircuit(qubo.n)
    for group, ones in qubo.groups:
        _dicke(circuit, group, ones)
    grouped = {i for group, _ in qubo.groups for i in group}
    for i in set(range(qubo.n)) - grouped:
        circuit.h(i)
    return circuit


def success_probability(iterations: int, marked: int, states: int) -> float:
    """sin^2((2 r + 1) a) with sin^2 a = marked / states: the marked part after r iterations (Boyer et al. 1998)."""
    return sin((2 * iterations + 1) * asin(sqrt(marked / states))) ** 2


def _dicke(circuit: Any, qubits: Sequence[int], ones: int) -> None:
    """The uniform superposition of all states of these qubits with so many ones, from |0>."""
    from qiskit.circuit.library import RYGate

    last = len(qubits)
    for i in qubits[last - ones :]:
        circuit.x(i)
    for size in range(last, 1, -1):
        end = qubits[size - 1]
        for moved in range(1, min(ones, size - 1) + 1):  # 0 1 .. 1 to sqrt(moved / size) of itself and 1 .. 1 0
            begin, turn = qubits[size - 1 - moved], RYGate(2 * np.arccos(np.sqrt(moved / size)))
            controls = [end] if moved == 1 else [qubits[size - moved], end]
            circuit.cx(begin, end)
            circuit.append(turn.control(len(controls), annotated=False), [*controls, begin])
            circuit.cx(begin, end)


def _diagonal(qubo: Qubo, threshold: float) -> Any:
    from qiskit.circuit import QuantumCircuit
    from qiskit.circuit.library import DiagonalGate

    below: NDArray[np.bool_] = qubo.diagonal() < threshold
    circuit = QuantumCircuit(qubo.n)
    circuit.append(DiagonalGate(np.where(below, -1.0, 1.0).tolist()), range(qubo.n))
    return circuit


def _comparison(rounded: Rounded, threshold: float) -> Any:
    """Sign -1 where the energy is below the threshold; the register's last qubits hold the difference on the way."""
    from qiskit.circuit import QuantumCircuit

    n, width = rounded.qubo.n, rounded.value_qubits
    register, limit = range(n, n + width), rounded.threshold(threshold)
    write = QuantumCircuit(n + width)
    write.h(register)
    for place, qubit in enumerate(register):  # the Fourier transform of the difference
        step = 2 * np.pi / (1 << (width - place))
        write.p(-step * limit, qubit)
        for variables, coefficient in rounded.terms:
            write.mcp(step * coefficient, list(variables), qubit)
    for place in range(width // 2):
        write.swap(register[place], register[width - 1 - place])
    for place, qubit in enumerate(register):  # and back
        for below in range(place):
            write.cp(-np.pi / (1 << (place - below)), register[below], qubit)
        write.h(qubit)
    circuit = write.copy()
    circuit.z(register[-1])
    circuit.compose(write.inverse(), inplace=True)
    return circuit
