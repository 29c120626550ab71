"""Softmax of a linear map."""

from torch import Tensor

from worldmodel.model.layers import Linear
from worldmodel.model.routers.router import Router


class LinearRouter(Router):
    """The simplest router. Twin of all others."""

    def __init__(self, inputs: int, experts: int) -> None:
        super().__init__()
        self.map = Linear(inputs, experts)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.map(x).float().softmax(-1)
        return y
