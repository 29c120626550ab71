"""Circuits run by PennyLane: what a layer's own circuit gives there."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = {"rx": "RX", "ry": "RY", "rz": "RZ", "rzz": "IsingZZ", "cx": "CNOT", "cz": "CZ", "h": "Hadamard", "x": "PauliX"}


def probabilities(circuit: Any) -> NDArray[np.float64]:
    """Return the probabilities [2^n] of a qiskit circuit with bound parameters. Bit q of a state is qubit q."""
    import pennylane as qml

    n = circuit.num_qubits

    @qml.qnode(qml.device("default.qubit", wires=n))
    def run() -> Any:
        for step in circuit.data:
            wires = [n - 1 - circuit.find_bit(qubit).index for qubit in step.qubits]  # wire 0 is the highest bit there
            getattr(qml, NAMES[step.operation.name])(*map(float, step.operation.params), wires=wires)
        return qml.probs(wires=range(n))

    return np.asarray(run(), np.float64)


def means(circuit: Any) -> NDArray[np.float64]:
    """Return <Z> of each qubit, [n]."""
    states = np.arange(2**circuit.num_qubits)
    signs = 1 - 2 * (states[:, None] >> np.arange(circuit.num_qubits) & 1)
    return probabilities(circuit) @ signs
