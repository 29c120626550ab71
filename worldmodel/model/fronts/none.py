"""No front: the encoding sees the first entries of the feature."""

from torch import Tensor

from worldmodel.model.config import FrontOptions
from worldmodel.model.fronts.front import Front, check_width


class NoFront(Front):
    """Takes the first entries as they are, so that nothing classical works before the circuit."""

    raw = True

    def __init__(self, inputs: int, outputs: int, options: FrontOptions) -> None:
        super().__init__()
        check_width("none", inputs, outputs)
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : self.outputs]
