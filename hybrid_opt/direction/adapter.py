"""One way to call any optimiser, so that no training loop asks for its class."""

from collections.abc import Mapping
from typing import Any

import torch

from hybrid_opt.direction.optimizer import HybridOptimizer


class OptimizerAdapter:
    """An optimiser of PyTorch, which needs neither the batch nor the loss of a step."""

    equivalents = 0.0  # gradients that choosing took so far, beside those of the steps

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self, batch: Any, loss: Any = None) -> None:
        """One step. batch: what an attached loss is given; loss: of this step."""
        self.optimizer.step()

    def metrics(self) -> dict[str, float]:
        """What it adds to a row of metrics, by their full names."""
        return {}

    def fits(self, state: Mapping[str, Any]) -> bool:
        """Whether this is the state of an optimiser of this kind."""
        return "direction" not in state

    def close(self) -> None:
        """Release what it holds."""


class HybridAdapter(OptimizerAdapter):
    """A `HybridOptimizer`."""

    optimizer: HybridOptimizer

    def step(self, batch: Any, loss: Any = None) -> None:
        self.optimizer.step(batch=batch, loss=loss)

    @property
    def equivalents(self) -> float:  # type: ignore[override]
        return self.optimizer.counts.equivalents

    def metrics(self) -> dict[str, float]:
        own = {f"quantum/{key}": value for key, value in self.optimizer.metrics().items()}
        return {**own, "time/direction_share": self.optimizer.share}

    def fits(self, state: Mapping[str, Any]) -> bool:
        return "direction" in state

    def close(self) -> None:
        self.optimizer.close()


def adapted(optimizer: torch.optim.Optimizer) -> OptimizerAdapter:
    """The adapter of an optimiser."""
    return (HybridAdapter if isinstance(optimizer, HybridOptimizer) else OptimizerAdapter)(optimizer)
