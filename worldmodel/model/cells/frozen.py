"""The quantum LSTM with a random circuit."""

from worldmodel.model.cells.base.gate_cell import GateCell
from worldmodel.model.cells.base.gates import FrozenGates


class FrozenCell(GateCell):
    """The twin of the circuit of which only the read-out is trained."""

    gates = FrozenGates
