"""The read of a quantum memory as a circuit: a check of its law, and what a quantum computer would run."""

from typing import Any

import numpy as np

from quantum_sampler.selector import Floats


def memory_circuit(keys: Floats, query: Floats) -> Any:
    """Slots in superposition, and the key register turned so that it reads 0 where it was the query.

    keys [M, d], unit rows, of the used slots; query [d], a unit vector; d is a power of two. Registers: `slot`, of
    ceil(log2 M) qubits, and `key`, of log2 d. Start: sum_i |i>|k_i> / sqrt(M), the loading. Then the inverse of what
    prepares |q>. The chance of slot i and key 0 is |<q|k_i>|^2 / M.
    """
    from qiskit import transpile
    from qiskit.circuit import QuantumCircuit, QuantumRegister
    from qiskit.circuit.library import StatePreparation

    (slots, width), places = keys.shape, max(1, (len(keys) - 1).bit_length())
    slot, key = QuantumRegister(places, "slot"), QuantumRegister(width.bit_length() - 1, "key")
    loaded = np.zeros((width, 1 << places))  # the slot is the low part of the index of a basis state
    loaded[:, :slots] = keys.T / np.sqrt(slots)
    circuit = QuantumCircuit(slot, key)
    circuit.append(StatePreparation(loaded.ravel() / np.linalg.norm(loaded)), [*slot, *key])
    circuit.append(StatePreparation(query / np.linalg.norm(query)).inverse(), key)
    # in plain gates: Aer ends the process at the multiplexers that a preparation is made of otherwise
    return transpile(circuit, basis_gates=["cx", "u3"], optimization_level=1)


def read_law(probabilities: Floats, places: int, slots: int) -> tuple[Floats, float]:
    """Of the circuit's outcomes: the law [M] of the slot where the key reads 0, and the chance of that."""
    found = probabilities[: 1 << places][:slots]
    return found / found.sum(), float(found.sum())


def as_qasm(circuit: Any, version: int = 3) -> str:
    """The circuit as OpenQASM."""
    from qiskit import qasm2, qasm3

    return str(qasm3.dumps(circuit) if version == 3 else qasm2.dumps(circuit))
