"""An LSTM whose gates are linear in cosines and sines."""

from worldmodel.model.cells.base.gate_cell import GateCell
from worldmodel.model.cells.base.gates import FourierGates


class FourierCell(GateCell):
    """The twin of the circuit with cosine and sine of the angles that it encodes."""

    gates = FourierGates
