"""`python -m worldmodel.fit`: one small training with one optimiser, in a run folder like that of any run."""

from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from hybrid_opt.direction.optimizer import HybridOptimizer
from hybrid_opt.solvers import check_solver
from worldmodel.compare.tasks.descent import Descent
from worldmodel.compare.tasks.losses import TASKS, Task
from worldmodel.compare.tasks.objectives import check_installed
from worldmodel.compare.tasks.recorded import recorded
from worldmodel.envs import Episode
from worldmodel.launch import hardware
from worldmodel.runs.evaluation import write_evaluation
from worldmodel.runs.folder import METRICS

Positive = Annotated[int, Field(ge=1)]
COSTS = ("shots", "circuits", "evaluations", "queries", "choices")
FIGURES = ("updates", "time/seconds", *(f"quantum/{key}" for key in (*COSTS, "acceptance")))


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class FitConfig:
    """A training: the task, the budget, and the optimiser. rate: of Adam; every, blocks, solver: of hybrid."""

    task: Literal["digits", "transformer", "cartpole", "pendulum"]
    optimizer: Literal["adam", "hybrid"]
    steps: Positive
    rate: Annotated[float, Field(gt=0)]
    every: Positive
    blocks: Positive
    test_every: Positive
    seed: Annotated[int, Field(ge=0)]
    logdir: str
    solver: dict[str, Any]

    @model_validator(mode="after")
    def _tested(self) -> Self:
        if self.steps < 2 * self.test_every:
            raise ValueError(f"test_every={self.test_every}: at most half of steps={self.steps} is accepted")
        return self

    def check(self) -> None:
        """Raise UsageError or ProblemError for what cannot be run."""
        check_solver(self.solver, "solver")
        if self.task == "digits":
            check_installed(self.task)

    def as_dict(self) -> dict[str, Any]:
        """The values by key."""
        return asdict(self)

    def make_optimizer(self, task: Task) -> torch.optim.Optimizer:
        """Adam, or Adam with update directions by Qubo, without a say of the clock."""
        adam = torch.optim.Adam(list(task.parameters.items()), lr=self.rate)
        if self.optimizer == "adam":
            return adam
        options = {"seed": self.seed, "every": self.every, "blocks": self.blocks}
        optimizer = HybridOptimizer(adam, solver=self.solver, **options)
        optimizer.attach(task.loss)
        return optimizer


def run(config: FitConfig) -> int:
    """Train; returns the exit code. Return is minus the held-out loss. A run that was stopped begins anew."""
    config.check()
    hardware.set_threads(1)
    with recorded(config.as_dict(), f"fit-{config.task}-{config.optimizer}-{config.seed}") as (folder, writer):
        if writer is None:
            return 0
        task = TASKS[config.task](config.seed)
        descent = Descent(task, config.seed, config.make_optimizer(task))
        while descent.equivalents < config.steps:
            descent.step()
            if descent.steps % config.test_every == 0 and descent.equivalents <= config.steps:
                figures = {key: value for key, value in descent.metrics().items() if key in FIGURES}
                writer.write(int(descent.equivalents), {"eval/return": -descent.note(), **figures})
        writer.flush()
        loss = descent.at(0, config.steps)
        last = Episode(0, config.steps, -loss)
        write_evaluation(folder, [last], config.steps, folder / METRICS, finished=config.steps)
        print(f"{config.task}: held-out loss {loss:.4g} after {descent.steps} steps by {config.optimizer}")
    return 0
