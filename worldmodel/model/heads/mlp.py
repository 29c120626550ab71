"""The head of DreamerV3: an MLP and a linear output."""

from torch import Tensor

from worldmodel.model.heads.head import Head
from worldmodel.model.layers import MLP, Linear


class MLPHead(Head):
    """An MLP and a linear output. Shapes: [..., inputs] -> [..., outputs].

    `scale` multiplies the initial output weights: 0 for reward and value, whose predictions start at zero; 0.01 for the
    actor.
    """

    compiled = True  # worldmodel.kernels has its arithmetic

    def __init__(self, inputs: int, units: int, layers: int, outputs: int, scale: float = 1.0) -> None:
        super().__init__()
        self.trunk = MLP(inputs, units, layers)
        self.out = Linear(units, outputs, scale)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.trunk(x))
        return y
