"""A quantum LSTM: the expectations of a circuit give the gates (Chen et al. 2020, arXiv 2009.01783)."""

from worldmodel.model.cells.base.gate_cell import GateCell
from worldmodel.model.cells.base.gates import CircuitGates


class CircuitCell(GateCell):
    """One call of the circuit computes all gates, with gradients through time in its angles too."""

    gates = CircuitGates
