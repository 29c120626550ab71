"""Virtual distillation: two copies of a state, as if it were squared."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import CircuitProgram, Result
from hybrid_opt.backends.local.observables import Basis, bases
from hybrid_opt.backends.mitigation.measurement import sum_of
from hybrid_opt.backends.mitigation.technique import Expansion, Technique, values

MOST = 6  # qubits: the observables of two copies have 4^n terms
HALF = 2**-0.5
# Turns two qubits so that their bits tell the eigenvalue of the swap: state 01 (first bit 1) is the singlet.
TURN = np.array([[1, 0, 0, 0], [0, HALF, -HALF, 0], [0, HALF, HALF, 0], [0, 0, 0, 1]])
SWAP = {"II": 0.5, "ZI": 0.5, "IZ": -0.5, "ZZ": 0.5}  # of the bits of a pair, first copy first
SPIN = {"ZI": 0.5, "IZ": 0.5}  # (Z I + I Z) / 2, times the swap or not


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class VirtualConfig:
    """Virtual distillation with two copies; it has no options."""


class Virtual(Technique):
    """Estimate Tr(O rho^2) / Tr(rho^2) from two copies on 2n qubits, which are turned pair by pair and measured.

    Observables are sums of Paulis of single qubits, n at most 6. Errors that leave the dominant state are squared
    away; those of the turns stay. Twin: the raw mean. Cost: twice the qubits, n more gates on two qubits, and about
    1 / Tr(rho^2)^2 times the shots. Source: Huggins et al. 2021, arXiv 2011.07064.
    """

    name, rank, Config = "virtual", 2, VirtualConfig

    def __init__(self, config: Any) -> None:
        self.config = config

    def expand(self, program: CircuitProgram, seed: int) -> Expansion:
        """Return one doubled program for each basis of the observables."""
        n, found = program.circuit.num_qubits, bases(program.observables)
        if n > MOST or any(support.sum() > 1 for basis in found for support in basis.supports):
            raise self.error(f"{n} qubits: sums of Paulis of single qubits are accepted, on {MOST} qubits at most")
        count = len(program.observables)
        programs = [
            replace(program, circuit=doubled(basis.rotate(program.circuit)), observables=_squared(basis, n))
            for basis in found
        ]

        def combine(results: Sequence[Result]) -> Result:
            parts = [_ratio(*values(result), count) for result in results]
            return Result(means=sum_of(a for a, _ in parts), errors=np.sqrt(sum_of(b for _, b in parts)))

        return Expansion(tuple(programs), combine)


def doubled(circuit: Any) -> Any:
    """Two copies of a circuit, whose qubits are turned pair by pair."""
    from qiskit import QuantumCircuit
    from qiskit.circuit.library import UnitaryGate

    n = circuit.num_qubits
    made = QuantumCircuit(2 * n)
    for copy in range(2):
        made.compose(circuit, range(copy * n, copy * n + n), inplace=True)
    for qubit in range(n):
        made.append(UnitaryGate(TURN), [qubit, qubit + n])
    return made


def _squared(basis: Basis, n: int) -> tuple[Any, ...]:
    """Of each observable's terms in a basis: O rho^2, rho^2, and their sum, whose error tells the covariance."""
    from qiskit.quantum_info import SparsePauliOp

    def pairs(spin: int) -> dict[str, float]:
        found = {"": 1.0}  # letters of qubits n-1 ... 0 of both copies, "first second" each
        for qubit in range(n):
            choice = SPIN if qubit == spin else SWAP
            found = {a + b: x * y for a, x in found.items() for b, y in choice.items()}
        return found

    def operator(parts: list[tuple[dict[str, float], float]]) -> Any:
        sums = dict[str, float]()
        for terms, weight in parts:
            for letters, value in terms.items():
                label = (letters[0::2] + letters[1::2])[::-1]  # qiskit writes the last qubit first
                sums[label] = sums.get(label, 0.0) + weight * value
        return SparsePauliOp(list(sums), list(sums.values()))

    whole = pairs(-1)
    tops = list[Any]()
    for column in basis.weights.T:
        parts = [
            (pairs(int(np.flatnonzero(support)[0])) if support.any() else whole, float(weight))
            for support, weight in zip(basis.supports, column, strict=True)
        ]
        tops.append(operator(parts))
    return (*tops, *((top + operator([(whole, 1.0)])).simplify() for top in tops), operator([(whole, 1.0)]))


def _ratio(means: Any, errors: Any, count: int) -> tuple[Any, Any]:
    """The ratio, and its variance by linear propagation."""
    top, bottom = means[:, :count], means[:, -1:]
    both, top_error, error = errors[:, count : 2 * count], errors[:, :count], errors[:, -1:]
    covariance = (both**2 - top_error**2 - error**2) / 2
    ratio = top / bottom
    square = (top_error**2 - 2 * ratio * covariance + ratio**2 * error**2) / bottom**2
    return ratio, np.maximum(square, 0.0)
