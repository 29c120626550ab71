"""What a head is. A kind of heads is one file beside this one, `heads/NAME.py`."""

from torch import Tensor

from worldmodel.model.observer import Observer


class Head(Observer):
    """Predicts from a feature. It is made by `Head(inputs, units, layers, outputs, scale)`.

    units, layers: the size of the MLP that it stands beside. scale: of its first outputs: 0 where they start at zero.
    One whose `__init__` takes `circuit` gets the run's `CircuitConfig`. One that takes `front` gets what makes a
    `Front` of (inputs, outputs).
    """

    compiled = False  # whether worldmodel.kernels has its arithmetic

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        raise NotImplementedError
