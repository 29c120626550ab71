"""The options of the optimisers: the group `optimizer`."""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PositiveFloat
from pydantic.dataclasses import dataclass

from hybrid_opt.backends import check_name
from hybrid_opt.direction.config import DirectionConfig, EscapeConfig
from hybrid_opt.errors import ProblemError
from hybrid_opt.solvers import check_solver

Decay = Annotated[float, Field(ge=0, lt=1)]
_strict = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(config=_strict, kw_only=True)
class LaPropOptions:
    """Options of the base optimiser. final_rate: see `Update`."""

    lr: Annotated[float, Field(gt=0)] = 4e-4
    """learning rate after the warm-up"""
    clip: Annotated[float, Field(ge=0)] = 0.3
    """adaptive gradient clipping: largest ratio of a tensor's gradient to its norm, 0 for none"""
    beta1: Decay = 0.9
    """decay of the momentum"""
    beta2: Decay = 0.999
    """decay of the mean square"""
    eps: Annotated[float, Field(gt=0)] = 1e-20
    """added to the root mean square"""
    warmup: Annotated[int, Field(ge=0)] = 1000
    """updates over which the learning rate rises"""
    angles: Annotated[float, Field(gt=0)] = 10.0
    """multiple of the learning rate for angles of circuits, and for scales of their inputs and outputs"""
    final_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """share of the learning rate left at the end of the run, to which it falls linearly; 1: constant"""

    def check(self, batch_size: int) -> None:
        """Raise ProblemError for what does not go with batches of this size, or does not exist."""


@dataclass(config=_strict, kw_only=True)
class LaPropConfig(LaPropOptions):
    """The base optimiser alone."""

    name: Literal["laprop"]


@dataclass(config=_strict, kw_only=True)
class HybridConfig(LaPropOptions, DirectionConfig):
    """LaProp, whose step is replaced by a choice among moves of blocks of parameters, by Qubo, every so often."""

    name: Literal["hybrid"]
    solver: str | dict[str, Any]
    """of the choice: a name, or 'optimizer.solver={name:qaoa,layers:2}'"""
    backend: str
    """where it runs"""
    overhead: PositiveFloat | None = 0.03
    windows: Annotated[int, Field(ge=1)] = 4
    """of the batch, on which the loss is modelled"""
    seed: Annotated[int, Field(ge=0, exclude=True)] = 0  # that of the run takes its place
    escape: EscapeConfig | None = field(default_factory=lambda: EscapeConfig(patience=None))
    """jumps out of flat or trapped places"""

    def check(self, batch_size: int) -> None:
        """Raise ProblemError for a solver or backend that does not exist, or too many windows. Nothing is opened."""
        if self.windows > batch_size:
            raise ProblemError(f"optimizer.windows={self.windows}: at most batch_size={batch_size} is accepted")
        check_name(self.backend)
        check_solver(self.solver, "optimizer.solver")
        if self.escape is not None:
            check_solver(self.escape.solver, "optimizer.escape.solver")
