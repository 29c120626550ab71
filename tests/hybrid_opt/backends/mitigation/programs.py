"""Programs that tests mitigate."""

from typing import Any

import numpy as np

from hybrid_opt.backends.backend import CircuitProgram
from hybrid_opt.backends.local.statevector import Statevector


def program(
    shots: int | None, *labels: str, sets: int = 2, layers: int = 2, seed: int = 0, noise: Any = None
) -> CircuitProgram:
    """Layers of ry and rz with a chain of cz between them; it ends with gates on one qubit."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector
    from qiskit.quantum_info import SparsePauliOp

    labels = labels or ("IIZ", "IZI")
    n = len(labels[0])
    circuit, angles = QuantumCircuit(n), iter(ParameterVector("a", 2 * n * layers))
    for layer in range(layers):
        for q in range(n):
            circuit.ry(next(angles), q)
            circuit.rz(next(angles), q)
        for q in range(n - 1) if layer < layers - 1 else ():
            circuit.cz(q, q + 1)
    rows = np.random.default_rng(seed).uniform(-np.pi, np.pi, (sets, circuit.num_parameters))
    return CircuitProgram(circuit, rows, shots, tuple(map(SparsePauliOp, labels)), noise)


def exact(asked: CircuitProgram) -> Any:
    """Its means without noise."""
    ideal = CircuitProgram(asked.circuit, asked.parameters, None, asked.observables)
    return Statevector().submit(ideal, "exact").result().means


def runs(programs: Any) -> int:
    """Shots of all programs."""
    return sum(each.shots * len(each.parameters) for each in programs)
