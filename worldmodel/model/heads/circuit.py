"""A head that reads its prediction out of a trained circuit."""

from hybrid_opt.layers.config import CircuitConfig
from worldmodel.model.circuits import circuit_layer
from worldmodel.model.fronts.front import MakeFront
from worldmodel.model.heads.base.readout import CIRCUIT, LINEAR, ReadoutHead


class CircuitHead(ReadoutHead):
    """A front, a circuit, and a linear read-out. Twins: `product`, `frozen`, `fourier` and `narrow`."""

    def __init__(
        self,
        inputs: int,
        units: int,
        layers: int,
        outputs: int,
        scale: float = 1.0,
        circuit: CircuitConfig = CIRCUIT,
        front: MakeFront = LINEAR,
    ) -> None:
        super().__init__(inputs, circuit_layer(circuit), outputs, scale, front)
