"""An MLP with as many parameters as the circuit head."""

from torch import Tensor, nn

from hybrid_opt.layers.config import CircuitConfig
from worldmodel.model.circuits import circuit_layer
from worldmodel.model.heads.base.readout import CIRCUIT
from worldmodel.model.heads.head import Head
from worldmodel.model.layers import MLP, Linear


class NarrowHead(Head):
    """Control of `circuit`: is it more than a layer of few units?

    One hidden layer. It has the fewest units that give it at least the parameters of the circuit head.
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        layers: int,
        outputs: int,
        scale: float = 1.0,
        circuit: CircuitConfig = CIRCUIT,
    ) -> None:
        super().__init__()
        body = circuit_layer(circuit)
        wanted = (inputs + 1) * body.inputs + sum(p.numel() for p in body.parameters()) + (outputs + 1) * body.outputs
        width = -(-wanted // (inputs + outputs + 2))
        self.net = nn.Sequential(MLP(inputs, width, 1), Linear(width, outputs, scale))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y
