"""A linear map that the task trains."""

from torch import Tensor

from worldmodel.model.config import FrontOptions
from worldmodel.model.fronts.front import Front
from worldmodel.model.layers import Linear


class LinearFront(Front):
    """One linear map with a bias."""

    def __init__(self, inputs: int, outputs: int, options: FrontOptions) -> None:
        super().__init__()
        self.map = Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.map(x)
        return y
