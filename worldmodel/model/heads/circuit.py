"""A head that reads its prediction out of a trained circuit."""

from worldmodel.model.circuits import circuit_layer
from worldmodel.model.heads.base.readout import ReadoutHead


class CircuitHead(ReadoutHead):
    """A front, a circuit, and a linear read-out. Twins: `product`, `frozen`, `fourier` and `narrow`."""

    body = staticmethod(circuit_layer)
