"""Principal components of replayed features, frozen between refits."""

import torch
from torch import Tensor
from torch.nn import functional as F

from worldmodel.model.config import FrontOptions
from worldmodel.model.fronts.front import Front, check_width

LEAST = 1e-4  # standard deviation of a component, so that constant features do not blow up


class Pca(Front):
    """The components of most variance, each divided by its standard deviation. Twin: `autoencoder`.

    It keeps the last R replayed features. A refit fits them at the first update, and at every `every`-th after it. All
    of its state is in buffers. Cost of a refit: a singular value decomposition of [R, inputs].
    """

    observes = True
    mean: Tensor
    components: Tensor  # [outputs, inputs], of length 1
    deviation: Tensor  # [outputs]
    explained: Tensor  # share of the variance
    kept: Tensor  # [R, inputs], a ring
    updates: Tensor  # so far
    written: Tensor  # rows

    def __init__(self, inputs: int, outputs: int, options: FrontOptions) -> None:
        super().__init__()
        check_width("pca", inputs, outputs)
        self.every = options.every
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("components", torch.eye(outputs, inputs))
        self.register_buffer("deviation", torch.ones(outputs))
        self.register_buffer("explained", torch.zeros(()))
        self.register_buffer("kept", torch.zeros(options.rows, inputs))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x - self.mean, self.components) / self.deviation

    def auxiliary(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return {}, {"explained_variance": self.explained.clone()}

    @torch.no_grad()
    def refit(self, x: Tensor) -> None:
        rows = x.reshape(-1, x.shape[-1])[-len(self.kept) :]
        begin = int(self.written)
        self.kept[(begin + torch.arange(len(rows), device=x.device)) % len(self.kept)] = rows.to(self.kept)
        self.written += len(rows)
        if int(self.updates) % self.every == 0:
            self._fit(self.kept[: int(self.written)])
        self.updates += 1

    def _fit(self, rows: Tensor) -> None:
        """Fit the components of rows [R, inputs]; each points as near as it can to where it did before."""
        mean, count = rows.mean(0), len(self.components)
        _, lengths, axes = torch.linalg.svd(rows - mean, full_matrices=len(rows) < count)
        variance = F.pad(lengths.square() / len(rows), (0, max(0, count - len(lengths))))
        found = axes[:count]
        sign = torch.where((found * self.components).sum(1, keepdim=True) < 0, -1.0, 1.0)
        self.mean.copy_(mean)
        self.components.copy_(found * sign)
        self.deviation.copy_(variance[:count].sqrt().clamp(min=LEAST))
        self.explained.copy_(variance[:count].sum() / variance.sum().clamp(min=LEAST**2))
