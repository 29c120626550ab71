"""Depolarising noise by density matrices: p after each two-qubit gate, p / 10 after each run of gates on one qubit."""

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.quantum_info import DensityMatrix, Operator, Pauli


def noisy_law(circuit: Any, p: float) -> NDArray[np.float64]:
    """Probabilities [2^n] of a bound circuit's basis states."""
    state, running = DensityMatrix.from_int(0, 2**circuit.num_qubits), list[int]()
    for instruction in circuit.data:
        qubits = [circuit.find_bit(qubit).index for qubit in instruction.qubits]
        if len(qubits) == 2:
            for qubit in qubits:
                if qubit in running:
                    running.remove(qubit)
                    state = depolarised(state, [qubit], p / 10)
        state = state.evolve(Operator(instruction.operation), qubits)
        if len(qubits) == 2:
            state = depolarised(state, qubits, p)
        elif qubits[0] not in running:
            running += qubits
    for qubit in running:
        state = depolarised(state, [qubit], p / 10)
    law: NDArray[np.float64] = state.probabilities()
    return law


def depolarised(state: DensityMatrix, qubits: list[int], p: float) -> DensityMatrix:
    """One of the Paulis of these qubits but the identity, with chance p, all equally likely."""
    errors = [Pauli("".join(letters)) for letters in product("IXYZ", repeat=len(qubits))][1:]
    mixed = sum(state.evolve(error, qubits).data for error in errors)
    return DensityMatrix((1 - p) * state.data + p / len(errors) * mixed)
