"""Softmax of a linear map."""

from torch import Tensor

from worldmodel.model.layers import Linear
from worldmodel.model.routers.router import Router, shares


class LinearRouter(Router):
    """The simplest router. Twin of all others."""

    def __init__(self, inputs: int, experts: int) -> None:
        super().__init__()
        self.map = Linear(inputs, experts)

    def forward(self, x: Tensor) -> Tensor:
        return shares(self.map(x))
