"""The circuit head without entangler: each qubit works alone."""

from dataclasses import replace

from hybrid_opt.layers.config import CircuitConfig
from worldmodel.model.circuits import circuit_layer
from worldmodel.model.fronts.front import MakeFront
from worldmodel.model.heads.base.readout import CIRCUIT, LINEAR, ReadoutHead


class ProductHead(ReadoutHead):
    """Control of `circuit`: what does entanglement bring?"""

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
        super().__init__(inputs, circuit_layer(replace(circuit, entangle="none")), outputs, scale, front)
