"""The circuit head of which only the read-out is trained."""

from worldmodel.model.circuits import circuit_layer
from worldmodel.model.heads.base.readout import ReadoutHead


class FrozenHead(ReadoutHead):
    """Control of `circuit`: what does training its angles, and the map before it, bring?

    Both stay as they were drawn. `pca` and `autoencoder` go on, since the task does not train them.
    """

    body, trained = staticmethod(circuit_layer), False
