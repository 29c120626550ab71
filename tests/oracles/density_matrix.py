"""Noise by density matrices: an error after each two-qubit gate, and after each run of gates on one qubit."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.quantum_info import DensityMatrix, Kraus, Operator, Pauli

Floats = NDArray[np.float64]
Error = Callable[[DensityMatrix, list[int]], DensityMatrix]


def noisy_law(circuit: Any, error: float | Error) -> Floats:
    """Probabilities [2^n] of a bound circuit's basis states. error: on some qubits, or the p of depolarising noise."""
    happens: Error = depolarising(error) if isinstance(error, int | float) else error
    state, running = DensityMatrix.from_int(0, 2**circuit.num_qubits), list[int]()
    for instruction in circuit.data:
        qubits = [circuit.find_bit(qubit).index for qubit in instruction.qubits]
        if len(qubits) == 2:
            for qubit in qubits:
                if qubit in running:
                    running.remove(qubit)
                    state = happens(state, [qubit])
        state = state.evolve(Operator(instruction.operation), qubits)
        if len(qubits) == 2:
            state = happens(state, qubits)
        elif qubits[0] not in running:
            running += qubits
    for qubit in running:
        state = happens(state, [qubit])
    law: Floats = state.probabilities()
    return law


def depolarising(p: float) -> Error:
    """p after two-qubit gates, p / 10 after others."""
    return lambda state, qubits: depolarised(state, qubits, p if len(qubits) == 2 else p / 10)


def depolarised(state: DensityMatrix, qubits: list[int], p: float) -> DensityMatrix:
    """One of the Paulis of these qubits but the identity, with chance p, all equally likely."""
    errors = [Pauli("".join(letters)) for letters in product("IXYZ", repeat=len(qubits))][1:]
    mixed = sum(state.evolve(error, qubits).data for error in errors)
    return DensityMatrix((1 - p) * state.data + p / len(errors) * mixed)


def each_qubit(kraus: Callable[[float], Sequence[Any]], p: float) -> Error:
    """Kraus operators on each qubit alone: those of p after two-qubit gates, of p / 10 after others."""

    def happens(state: DensityMatrix, qubits: list[int]) -> DensityMatrix:
        for qubit in qubits:
            state = state.evolve(Kraus(list(kraus(p if len(qubits) == 2 else p / 10))), [qubit])
        return state

    return happens
