"""The configuration of a small training."""

from dataclasses import asdict, field
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.noise import noise_of
from hybrid_opt.layers.config import CircuitConfig
from hybrid_opt.solvers import check_solver
from worldmodel.compare.tasks.objectives import check_installed
from worldmodel.model.config import ModelConfig
from worldmodel.model.factory import Factory

Positive = Annotated[int, Field(ge=1)]
ROUTED, RECURRENT = ("moons", "curves"), ("narma",)  # tasks for a router, and for a recurrent cell


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True), kw_only=True)
class FitConfig:
    """A training: the task, the budget, and the optimiser."""

    task: Literal["digits", "transformer", "cartpole", "pendulum", "moons", "curves", "narma"] = "digits"
    """what is trained: digits (MLP), transformer (on a text), the world model of cartpole or pendulum, a router of
    linear experts (moons, curves), or a recurrent cell (narma)"""
    optimizer: Literal["adam", "hybrid"] = "hybrid"
    """adam, or hybrid: Adam, whose step is replaced by a choice among moves, by Qubo, every so often"""
    steps: Positive = 1000
    """gradient-equivalents: three evaluations of the loss count as one gradient"""
    rate: Annotated[float, Field(gt=0)] = 1e-3
    """learning rate of Adam"""
    every: Positive = 50
    """steps between choices; up to eight times as many after those that brought nothing"""
    blocks: Positive = 4
    """of parameters, each of which takes a move of its own"""
    test_every: Positive = 20
    """steps between evaluations of the held-out loss, of which the mean of the last three counts"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of weights, batches and choices"""
    logdir: str = "auto"
    """the run's folder; a finished run is left as it is, another begins anew; auto: one under runs/"""
    solver: dict[str, Any]
    model: ModelConfig = field(default_factory=ModelConfig)
    """parts, of which moons and curves use the router, and narma the cell"""
    circuit: CircuitConfig = field(default_factory=CircuitConfig)
    """the circuit of these parts"""
    noise: dict[str, Any] = field(default_factory=lambda: {"name": "none"})
    """errors of these parts, and of a solver with circuits"""
    units: Positive = 8
    """width of a router's hidden layer where it is an MLP; units of a cell"""

    @property
    def parts(self) -> Factory:
        """What makes the parts of the model."""
        return Factory(self.model, self.circuit.within(self.noise))

    @model_validator(mode="after")
    def _tested(self) -> Self:
        if self.steps < 2 * self.test_every:
            raise ValueError(f"test_every={self.test_every}: at most half of steps={self.steps} is accepted")
        return self

    def check(self) -> None:
        """Raise UsageError or ProblemError for what cannot be run."""
        check_solver(self.solver, "solver")
        noise_of(self.noise)
        if self.task == "digits":
            check_installed(self.task)
        if self.task in (*ROUTED, *RECURRENT):
            self.parts.check()
        if self.task in RECURRENT:
            from worldmodel.model.cells.sequence import gates_of  # with torch, which --help does without

            gates_of(self.model.cell, "model.cell")

    def as_dict(self) -> dict[str, Any]:
        """The values by key, without those of parts where the task has none, as in earlier versions."""
        values = asdict(self)
        if self.task not in (*ROUTED, *RECURRENT):
            del values["model"], values["circuit"], values["units"]
        if self.noise["name"] == "none":
            del values["noise"]
        return values
