"""`python -m worldmodel.fit`: one small training with one optimiser, in a run folder like that of any run."""

import torch

from hybrid_opt.direction.optimizer import HybridOptimizer
from hybrid_opt.solvers import with_noise
from worldmodel.compare.tasks.descent import Descent
from worldmodel.compare.tasks.losses import TASKS, Task
from worldmodel.compare.tasks.recorded import recorded
from worldmodel.envs import Episode
from worldmodel.fit.config import FitConfig
from worldmodel.launch import hardware
from worldmodel.runs.evaluation import write_evaluation
from worldmodel.runs.folder import METRICS

COSTS = ("shots", "circuits", "evaluations", "queries", "choices")
FIGURES = ("updates", "time/seconds", *(f"quantum/{key}" for key in (*COSTS, "acceptance")))


def run(config: FitConfig) -> int:
    """Train; returns the exit code. Return is minus the held-out loss. A run that was stopped begins anew."""
    config.check()
    hardware.set_threads(1)
    with recorded(config.as_dict(), f"fit-{config.task}-{config.optimizer}-{config.seed}") as (folder, writer):
        if writer is None:
            return 0
        task = _task(config)
        descent = Descent(task, config.seed, _optimizer(config, task))
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


def _task(config: FitConfig) -> Task:
    """The model and its data. Tasks for a part get what makes it."""
    if config.task in TASKS:
        return TASKS[config.task](config.seed)
    from worldmodel.compare.tasks.parts import PARTED

    return PARTED[config.task](config.seed, config.parts, config.units)


def _optimizer(config: FitConfig, task: Task) -> torch.optim.Optimizer:
    """Adam, or Adam with update directions by Qubo, without a say of the clock."""
    adam = torch.optim.Adam(list(task.parameters.items()), lr=config.rate)
    if config.optimizer == "adam":
        return adam
    options = {"seed": config.seed, "every": config.every, "blocks": config.blocks}
    solver = with_noise(config.solver, config.noise, "statevector")
    optimizer = HybridOptimizer(adam, solver=solver, **options)
    optimizer.attach(task.loss)
    return optimizer
