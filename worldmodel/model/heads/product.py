"""The circuit head without entangler: each qubit works alone."""

from dataclasses import replace

from hybrid_opt.layers.config import CircuitConfig
from hybrid_opt.layers.layer import CircuitLayer
from worldmodel.model.circuits import circuit_layer
from worldmodel.model.heads.base.readout import ReadoutHead


class ProductHead(ReadoutHead):
    """Control of `circuit`: what does entanglement bring?"""

    @staticmethod
    def body(circuit: CircuitConfig) -> CircuitLayer:
        return circuit_layer(replace(circuit, entangle="none"))
