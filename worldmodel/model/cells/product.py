"""The quantum LSTM without entanglement."""

from worldmodel.model.cells.base.gate_cell import GateCell
from worldmodel.model.cells.base.gates import ProductGates


class ProductCell(GateCell):
    """The twin of the circuit whose qubits never meet."""

    gates = ProductGates
