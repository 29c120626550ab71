"""A qiskit circuit as elementary gates, with angles that can be evaluated for many parameter sets at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.errors import ProblemError

Complexes = NDArray[np.complex128]
TURNS = {"rx": "rx", "ry": "ry", "rz": "rz", "p": "p", "u1": "p", "rzz": "rzz", "u": "u", "u3": "u"}
IGNORED = ("barrier", "id", "delay", "global_phase")


class Angle:
    """An angle of a gate: a number, or an expression of the circuit's parameters, kept as a linear form if it is one.

    linear: {index of a parameter: its factor}, or None. constant: the rest of the linear form.
    """

    def __init__(self, value: Any, order: dict[Any, int]) -> None:
        self.constant, self.linear = 0.0, dict[int, float]()
        self._expression, self._order = value, order
        self.is_linear = True
        if not hasattr(value, "parameters"):
            self.constant = float(value)
            return
        slopes = {parameter: value.gradient(parameter) for parameter in value.parameters}
        if any(hasattr(slope, "parameters") and slope.parameters for slope in slopes.values()):
            self.is_linear = False
            return
        self.linear = {order[parameter]: float(np.real(complex(slope))) for parameter, slope in slopes.items()}
        zero = value.bind(dict.fromkeys(value.parameters, 0.0)) if slopes else value
        self.constant = float(np.real(complex(zero)))

    def __call__(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values float64 [P] for parameters [P, m]."""
        values = np.full(len(parameters), self.constant)
        if self.is_linear:
            for index, factor in self.linear.items():
                values += factor * parameters[:, index]
            return values
        used = [(parameter, self._order[parameter]) for parameter in self._expression.parameters]
        for row, sets in enumerate(parameters):
            values[row] = float(self._expression.bind({parameter: sets[index] for parameter, index in used}))
        return values


@dataclass(frozen=True)
class Gate:
    """name: rx, ry, rz, p, rzz, u with angles; "diagonal" or another name with its array.

    qubits: the targets. controls: (qubit, bit) pairs; the gate acts where all these qubits have these bits. array: the
    matrix complex128 [2^k, 2^k] in qiskit's order (the first target is the lowest bit), or the diagonal [2^k].
    """

    name: str
    qubits: tuple[int, ...]
    controls: tuple[tuple[int, int], ...] = ()
    angles: tuple[Angle, ...] = ()
    array: Complexes | None = None


def elementary(circuit: Any) -> list[Gate]:
    """The gates of a circuit without measurements; its global phase is left out. Raises ProblemError."""
    order = {parameter: index for index, parameter in enumerate(circuit.parameters)}
    return list(_gates(circuit, tuple(range(circuit.num_qubits)), order))


def _gates(circuit: Any, place: tuple[int, ...], order: dict[Any, int]) -> Iterator[Gate]:
    for instruction in circuit.data:
        qubits = tuple(place[circuit.find_bit(qubit).index] for qubit in instruction.qubits)
        yield from _lowered(instruction.operation, qubits, order)


def _lowered(operation: Any, qubits: tuple[int, ...], order: dict[Any, int]) -> Iterator[Gate]:
    from qiskit.circuit import ControlledGate
    from qiskit.circuit import Gate as QiskitGate
    from qiskit.quantum_info import Operator

    name = operation.name
    if name in IGNORED:
        return
    if isinstance(operation, ControlledGate) and operation.base_gate.num_qubits == 1 and name != "cu":
        count = operation.num_ctrl_qubits
        state = operation.ctrl_state
        controls = tuple((qubit, (state >> i) & 1) for i, qubit in enumerate(qubits[:count]))
        base = operation.base_gate
        if base.name in TURNS:
            yield Gate(TURNS[base.name], qubits[count:], controls, tuple(Angle(value, order) for value in base.params))
        else:
            yield Gate(base.name, qubits[count:], controls, array=np.asarray(base.to_matrix(), np.complex128))
    elif name in TURNS:
        yield Gate(TURNS[name], qubits, (), tuple(Angle(value, order) for value in operation.params))
    elif name == "diagonal":
        yield Gate(name, qubits, array=np.asarray(operation.params, np.complex128))
    elif not getattr(operation, "is_parameterized", lambda: False)() and (
        name == "unitary" or (isinstance(operation, QiskitGate) and len(qubits) <= 2)
    ):
        yield Gate(name, qubits, array=np.asarray(Operator(operation).data, np.complex128))
    elif getattr(operation, "definition", None) is not None and not getattr(operation, "blocks", ()):
        yield from _gates(operation.definition, qubits, order)
    else:
        raise ProblemError(f"circuit: has {name}; gates with a matrix or a definition are accepted")
