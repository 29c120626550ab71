"""NARMA-5, a memory task for recurrent cells: each output depends on five inputs and outputs before."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from worldmodel.compare.tasks.losses import Task
from worldmodel.model.cells.sequence import LSTM
from worldmodel.model.factory import Factory

ORDER = 5
SETTLE, TRAIN, TEST = 100, 700, 400  # steps of the series: left out at first, learned from, held out
STEPS, BLIND = 20, ORDER  # of a window, and those of them whose causes lie before it, which do not count
BATCH = 32


def narma(rng: np.random.Generator, steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Inputs u and outputs y [steps], of Atiya and Parlos 2000 (IEEE TNN 11:697).

    y(t + 1) = 0.3 y(t) + 0.05 y(t) (y(t) + ... + y(t - 4)) + 1.5 u(t - 4) u(t) + 0.1, with u uniform in [0, 0.5].
    """
    u, y = rng.uniform(0, 0.5, steps), np.zeros(steps)
    for t in range(ORDER - 1, steps - 1):
        past = slice(t - ORDER + 1, t + 1)
        y[t + 1] = 0.3 * y[t] + 0.05 * y[t] * y[past].sum() + 1.5 * u[t - ORDER + 1] * u[t] + 0.1
    return u, y


class Predictor(nn.Module):
    """A recurrent cell and a linear output: [T, N, 1] -> [T, N]."""

    def __init__(self, parts: Factory, units: int) -> None:
        super().__init__()
        self.lstm = LSTM(1, units, parts.model.cell, parts.circuit)
        self.out = nn.Linear(units, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.lstm(x)[0]).squeeze(-1)
        return y


def series(seed: int, parts: Factory, units: int) -> Task:
    """The task: y(t) from the inputs up to u(t - 1), in windows of 20 steps. Held out is what follows in the series.

    What is told of it is the root mean squared error in standard deviations of the outputs (NRMSE).
    """
    u, y = narma(np.random.default_rng((seed, 2)), SETTLE + TRAIN + TEST)
    u, y = u[SETTLE - 1 : -1], y[SETTLE:]
    mean, deviation = y[:TRAIN].mean(), y[:TRAIN].std()
    inputs = torch.tensor((u - 0.25) * np.sqrt(48), dtype=torch.float32)  # of mean 0 and variance 1
    targets = torch.tensor((y - mean) / deviation, dtype=torch.float32)
    torch.manual_seed(seed)
    model = Predictor(parts, units)

    def windows(starts: Any) -> tuple[Tensor, Tensor]:
        at = torch.as_tensor(starts)[None] + torch.arange(STEPS)[:, None]  # [T, N]
        return inputs[at].unsqueeze(-1), targets[at]

    def loss(parameters: Mapping[str, Tensor], batch: Any, _: torch.Generator) -> Tensor:
        predicted = functional_call(model, dict(parameters), (batch[0],))
        return F.mse_loss(predicted[BLIND:], batch[1][BLIND:])

    def error(parameters: Mapping[str, Tensor], batch: Any, generator: torch.Generator) -> Tensor:
        squared: Tensor = loss(parameters, batch, generator) / batch[1][BLIND:].var()
        return squared.sqrt()

    def batch(rng: np.random.Generator) -> Any:
        return windows(rng.integers(TRAIN - STEPS, size=BATCH))

    half, held_out = BATCH // 2, windows(np.arange(TRAIN, TRAIN + TEST - STEPS, BLIND))
    return Task(model, loss, batch, lambda b: (b[0][:, :half], b[1][:, :half]), 0.5, held_out, error)
