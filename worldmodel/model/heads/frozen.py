"""The circuit head of which only the read-out is trained."""

from hybrid_opt.layers.config import CircuitConfig
from worldmodel.model.circuits import circuit_layer
from worldmodel.model.fronts.front import MakeFront
from worldmodel.model.heads.base.readout import CIRCUIT, LINEAR, ReadoutHead


class FrozenHead(ReadoutHead):
    """Control of `circuit`: what does training its angles, and the map before it, bring?

    Both stay as they were drawn. `pca` and `autoencoder` go on, since the task does not train them.
    """

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
        self.angles.freeze()
