"""The plain LSTM."""

from worldmodel.model.cells.base.gate_cell import GateCell
from worldmodel.model.cells.base.gates import LinearGates


class LSTMCell(GateCell):
    """Gates are linear in inputs and state: no approximator."""

    gates = LinearGates
