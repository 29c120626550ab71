"""Two classes told apart by linear experts, which a router mixes: what stands alone of seed 002 (arXiv 2512.22296).

Linear experts alone draw one line each, so it is the router that has to bend the boundary.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from worldmodel.compare.tasks.losses import Task
from worldmodel.model.factory import Factory

Floats = NDArray[np.float64]
Generator = Callable[[np.random.Generator, int], tuple[Floats, NDArray[np.int64]]]
TRAIN, TEST, BATCH, CLASSES = 500, 2000, 32, 2
DIMENSIONS, DEGREE, OFFSET = 4, 3, 0.3  # of the curves


class Experts(nn.Module):
    """Linear experts, whose logits a router mixes, as in the source: [N, I] -> logits [N, classes]."""

    def __init__(self, inputs: int, classes: int, parts: Factory, units: int) -> None:
        """units: width of a router that is an MLP. model.router=none leaves one expert."""
        super().__init__()
        routed = parts.model.router != "none"
        self.router = parts.router(inputs, units) if routed else None
        self.experts = nn.ModuleList(nn.Linear(inputs, classes) for _ in range(parts.model.experts if routed else 1))

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.stack([expert(x) for expert in self.experts], 1)  # [N, experts, classes]
        return logits[:, 0] if self.router is None else torch.einsum("ne,nec->nc", self.router(x), logits)


def moons(rng: np.random.Generator, count: int) -> tuple[Floats, NDArray[np.int64]]:
    """Two interleaved half circles with noise of 0.1: points [count, 2] and classes [count]."""
    label, angle = rng.integers(2, size=count), rng.uniform(0, np.pi, count)
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], 1)
    return np.where(label[:, None] == 0, upper, lower) + rng.normal(0, 0.1, (count, 2)), label


def curves(rng: np.random.Generator, count: int) -> tuple[Floats, NDArray[np.int64]]:
    """Two closed curves in four dimensions, side by side: random Fourier series of degree 3 (cf. arXiv 2403.07059)."""
    series = rng.normal(size=(2, DEGREE, DIMENSIONS)) / np.sqrt(DEGREE)
    label, angle = rng.integers(2, size=count), rng.uniform(0, 2 * np.pi, count)
    waves = angle[:, None] * np.arange(1, DEGREE + 1)  # [count, degree]
    points = np.cos(waves) @ series[0] + np.sin(waves) @ series[1]
    return points + OFFSET * label[:, None] + rng.normal(0, 0.05, points.shape), label


def classification(generator: Generator) -> Callable[[int, Factory, int], Task]:
    """A task of a data set: 500 points to learn from, 2,000 held out, all scaled to [0, pi] by the former."""

    def make(seed: int, parts: Factory, units: int) -> Task:
        points, label = generator(np.random.default_rng((seed, 2)), TRAIN + TEST)
        low, high = points[:TRAIN].min(0), points[:TRAIN].max(0)
        x = torch.tensor(np.pi * (points - low) / (high - low), dtype=torch.float32)
        y = torch.from_numpy(label)
        torch.manual_seed(seed)
        model = Experts(x.shape[1], CLASSES, parts, units)

        def loss(parameters: Mapping[str, Tensor], batch: Any, _: torch.Generator) -> Tensor:
            return F.cross_entropy(functional_call(model, dict(parameters), (batch[0],)), batch[1])

        def error(parameters: Mapping[str, Tensor], batch: Any, _: torch.Generator) -> Tensor:
            logits: Tensor = functional_call(model, dict(parameters), (batch[0],))
            wrong: Tensor = logits.argmax(-1) != batch[1]
            return wrong.float().mean()

        def batch(rng: np.random.Generator) -> Any:
            rows = torch.from_numpy(rng.choice(TRAIN, BATCH, replace=False))
            return x[rows], y[rows]

        half = BATCH // 2
        return Task(model, loss, batch, lambda b: (b[0][:half], b[1][:half]), 0.5, (x[TRAIN:], y[TRAIN:]), error)

    return make
