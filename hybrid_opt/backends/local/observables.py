"""Observables, measured in as few bases as qubit-wise commutation allows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.errors import ProblemError

Floats = NDArray[np.float64]


class Basis:
    """A measurement basis, and the Pauli terms of m observables that are diagonal in it.

    paulis: a letter of IXYZ for each qubit. supports: bool [T, n], the qubits on which a term acts. weights: float64
    [T, m], the coefficient of each term in each observable.
    """

    def __init__(self, paulis: str, supports: NDArray[np.bool_], weights: Floats) -> None:
        self.paulis, self.supports, self.weights = paulis, supports, weights

    def rotate(self, circuit: Any) -> Any:
        """The circuit followed by the gates that make this basis the computational one."""
        rotated = circuit.copy()
        for qubit, letter in enumerate(self.paulis):
            if letter == "Y":
                rotated.sdg(qubit)
            if letter in "XY":
                rotated.h(qubit)
        return rotated

    def means(self, law: Floats) -> Floats:
        """Means float64 [m] over probabilities float64 [2^n] of the rotated circuit's states."""
        states = np.arange(len(law), dtype=np.int64)
        masks = self.supports @ (1 << np.arange(self.supports.shape[1], dtype=np.int64))
        moments = [law @ (1.0 - 2.0 * (np.bitwise_count(states & mask) & 1)) for mask in masks]
        means: Floats = np.array(moments) @ self.weights
        return means

    def statistics(self, bits: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Sample means [m], and the variances [m] of these means, from bits uint8 [S, n]."""
        values = (1.0 - 2.0 * ((bits.astype(np.int64) @ self.supports.T.astype(np.int64)) & 1)) @ self.weights  # [S, m]
        variance = values.var(0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.inf)
        return values.mean(0), variance / len(values)


def bases(observables: Sequence[Any]) -> list[Basis]:
    """Bases for qiskit SparsePauliOps of the same n qubits. Raises ProblemError unless they are real."""
    terms: dict[str, Floats] = {}  # Pauli string, letter i of qubit i -> coefficients [m]
    for index, observable in enumerate(observables):
        for label, weight in observable.to_list():
            if abs(weight.imag) > 1e-12:
                raise ProblemError(f"observables: coefficient {weight} of {label}; real ones are accepted")
            terms.setdefault(label[::-1], np.zeros(len(observables)))[index] += weight.real
    groups: list[tuple[list[str], list[str]]] = []  # letters of the basis, members
    for term in terms:
        for letters, members in groups:
            if all("I" in (a, b) or a == b for a, b in zip(letters, term, strict=True)):
                letters[:] = [b if a == "I" else a for a, b in zip(letters, term, strict=True)]
                members.append(term)
                break
        else:
            groups.append((list(term), [term]))
    return [
        Basis(
            "".join(letters),
            np.array([[letter != "I" for letter in term] for term in members], np.bool_),
            np.array([terms[term] for term in members]),
        )
        for letters, members in groups
    ]
