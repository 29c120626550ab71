"""An LSTM whose gates are small MLPs."""

from worldmodel.model.cells.base.gate_cell import GateCell
from worldmodel.model.cells.base.gates import MLPGates


class MLPCell(GateCell):
    """The twin of the circuit with as wide a hidden layer as it has qubits."""

    gates = MLPGates
