"""The RY-CZ ansatz as a circuit."""

from typing import Any

from hybrid_opt.errors import ProblemError


def vqe_circuit(n: int, layers: int, entangle: bool = True) -> Any:
    """RY on all qubits, then `layers` times CZ between neighbours i, i + 1 and RY on all: a qiskit QuantumCircuit.

    Its parameters are the angles [layers + 1, n], row by row. entangle: without it there is no CZ: the product twin.
    `hybrid_opt.simulator.ansatz` gives the same state.
    """
    from qiskit.circuit import ParameterVector, QuantumCircuit

    if n < 1 or layers < 0:
        raise ProblemError(f"n={n}, layers={layers}: at least one qubit and no less than 0 layers are accepted")
    angles = ParameterVector("angle", (layers + 1) * n)
    circuit = QuantumCircuit(n)
    for place, angle in enumerate(angles):
        if entangle and place >= n and place % n == 0:
            for i in (*range(0, n - 1, 2), *range(1, n - 1, 2)):  # depth 2
                circuit.cz(i, i + 1)
        circuit.ry(angle, place % n)
    return circuit
