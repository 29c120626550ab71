"""Several critics, computed side by side."""

import torch
from torch import Tensor, nn

from worldmodel.model.layers import EPS, norm_silu_operators, truncated_normal_


class Critics(nn.Module):
    """E MLPs of two hidden layers, from a feature to a value. Shapes: [N, U] -> [E, N]."""

    scale: Tensor
    passes = staticmethod(norm_silu_operators)  # `worldmodel.kernels.for_agent` may give another

    def __init__(self, count: int, inputs: int, units: int) -> None:
        super().__init__()
        widths = ((inputs, units), (units, units), (units, 1))
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(count, *shape)) for shape in widths)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(count, 1, out)) for _, out in widths)
        self.register_buffer("scale", torch.ones(units), persistent=False)  # of the norms: none
        for weight in self.weights:
            truncated_normal_(weight, weight.shape[1])

    def forward(self, x: Tensor, learn: bool = True) -> Tensor:
        """learn: whether the gradient reaches the weights; that of x is given in any case."""
        y = x.expand(len(self.weights[0]), *x.shape)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            y = torch.baddbmm(bias, y, weight) if learn else torch.baddbmm(bias.detach(), y, weight.detach())
            if number < 2:
                y = self.passes(y, self.scale, EPS)
        return y.squeeze(-1)
