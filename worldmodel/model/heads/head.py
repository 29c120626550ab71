"""What a head is. A kind of heads is one file beside this one, `heads/NAME.py`."""

from torch import Tensor, nn


class Head(nn.Module):
    """Predicts from a feature. It is made by `Head(inputs, units, layers, outputs, scale)`.

    units, layers: the size of the MLP that it stands beside. scale: of its first outputs: 0 where they start at zero.
    """

    compiled = False  # whether worldmodel.kernels has its arithmetic

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        raise NotImplementedError
