"""Several critics, computed side by side."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.model.layers import EPS, truncated_normal_


class Critics(nn.Module):
    """E MLPs of two hidden layers, from a feature to a value. Shapes: [N, U] -> [E, N]."""

    def __init__(self, count: int, inputs: int, units: int) -> None:
        super().__init__()
        widths = ((inputs, units), (units, units), (units, 1))
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(count, *shape)) for shape in widths)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(count, 1, out)) for _, out in widths)
        for weight in self.weights:
            truncated_normal_(weight, weight.shape[1])

    def forward(self, x: Tensor, learn: bool = True) -> Tensor:
        """learn: whether the gradient reaches the weights; that of x is given in any case."""
        y = x.expand(len(self.weights[0]), *x.shape)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            y = torch.baddbmm(bias, y, weight) if learn else torch.baddbmm(bias.detach(), y, weight.detach())
            if number < 2:
                y = F.silu(F.rms_norm(y, y.shape[-1:], eps=EPS))
        return y.squeeze(-1)
