"""Update directions by Qubo: `python -m benchmarks.direction [PART ...] [--seeds N] [--json PATH]`.

quality: every solver on the identical problems that training poses (recorded from the tasks; 6 moves of 6 blocks), with
shots, evaluations or descents for as many states as a sixteenth of the feasible ones; and on those of 3 blocks, which
fit VQE. traps: spin glasses in cos(pi x) of 12..16 parameters on which one greedy descent finds the minimum in less
than a fifth of 500 tries; escapes by each solver, and controls at equal loss evaluations. basin: networks with
saturated units. tasks: held-out loss at equal gradient-equivalents (three losses count as one gradient) and at equal
processor time, against the base and against tuned Adam, also by continuous solves (direction_controls.py) and, on 3
blocks, VQE. overhead: processor time of `budget` steps at the default cadence
and limit of training, by that of the base.

Intervals are 95 %: Wilson's for shares, bootstrap for means over seeds. Losses of the trap are exact to 1e-3.
"""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.direction_controls import Continuous, Relaxation
from benchmarks.direction_traps import basin, traps
from benchmarks.harness import Option, mean, parse, share, write
from hybrid_opt import Qubo, make_solver
from hybrid_opt.direction.optimizer import HybridOptimizer
from worldmodel.compare.tasks.descent import Descent
from worldmodel.compare.tasks.losses import TASKS, Task

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)  # of which tuned Adam has the best on a seed that is not reported
RATE = 1e-3  # of the base
TUNING = 1000  # that seed
TURNS = 40  # of trainings side by side
SOLVERS: dict[str, Any] = {
    "qaoa": {"name": "qaoa", "shots": 256},
    "qaoa, no entangling": {"name": "qaoa", "shots": 256, "entangle": False},
    "qaoa, shuffled problem": {"name": "qaoa", "shots": 256, "shuffle": True},
    "exact": "exact",
    "annealing": {"name": "annealing", "reads": 8},
    "greedy": {"name": "greedy", "restarts": 4},
    "random": {"name": "random", "shots": 256},
}
VQE: dict[str, Any] = {"shots": 64, "steps": 50, "training_shots": 32}


class Rival(NamedTuple):
    """A training with an optimiser of ours. tuned: on tuned Adam instead of the base."""

    solver: Any
    blocks: int = 4
    tuned: bool = False
    kind: type[HybridOptimizer] = HybridOptimizer


RIVALS = {
    **{label: Rival(solver) for label, solver in SOLVERS.items()},
    "continuous, rounded": Rival(Relaxation()),
    "continuous": Rival("exact", kind=Continuous),
    "3 blocks, vqe": Rival({"name": "vqe", **VQE}, 3),
    "3 blocks, vqe, product": Rival({"name": "vqe", **VQE, "entangle": False}, 3),
    "3 blocks, exact": Rival("exact", 3),
    "on tuned Adam, qaoa": Rival(SOLVERS["qaoa"], tuned=True),
    "on tuned Adam, random": Rival(SOLVERS["random"], tuned=True),
    "on tuned Adam, continuous": Rival("exact", tuned=True, kind=Continuous),
}


def main() -> None:
    """Run the parts and print their tables."""
    parts: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
        "quality": quality, "traps": traps, "basin": basin, "tasks": tasks, "overhead": overhead,
    }  # fmt: skip
    options = parse(
        __doc__,
        parts,
        label="PART",
        seeds=10,
        problems=(10, "recorded of each task and seed, and traps of each size"),
        budget=(2000, "gradient-equivalents of a training"),
        every=(50, "steps between choices in training"),
        tasks=Option(list(TASKS), choices=TASKS),
        sizes=([12, 14, 16], "parameters of traps"),
    )
    torch.set_num_threads(1)
    tables = {}
    for name in options.parts:
        tables[name] = parts[name](options)
        print(f"\n{name}")
        for row in tables[name]:
            print("  " + "  ".join(f"{key} {_text(value)}" for key, value in row.items()), flush=True)
        write(options, tables)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def adam(task: Task, rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(list(task.parameters.items()), lr=rate)


def hybrid(
    task: Task,
    solver: Any,
    seed: int,
    rate: float = RATE,
    kind: type[HybridOptimizer] = HybridOptimizer,
    **options: Any,
) -> HybridOptimizer:
    optimizer = kind(adam(task, rate), solver=solver, seed=seed, **options)
    optimizer.attach(task.loss)
    return optimizer


def recorded(name: str, seed: int, count: int, blocks: int) -> list[Qubo]:
    """Problems that training poses, once all six moves are there."""
    task, problems = TASKS[name](seed), list[Qubo]()
    optimizer = hybrid(task, {"name": "greedy", "restarts": 4}, seed, every=10, slowest=1, blocks=blocks)
    optimizer.recorder = lambda qubo, solution: problems.append(qubo)
    run = Descent(task, seed, optimizer)
    while sum(len(qubo.one_hot[0]) == 6 for qubo in problems) < count and run.steps < 100 * count:
        run.step()
    return [qubo for qubo in problems if len(qubo.one_hot[0]) == 6][:count]


def quality(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Whether the best sample is the exact minimum, by solver."""
    rows = []
    for blocks in (6, 3):
        problems = [(name, seed, qubo) for name in options.tasks for seed in range(options.seeds)
                    for qubo in recorded(name, seed, options.problems, blocks)]  # fmt: skip
        hits: dict[str, list[bool]] = {}
        for number, (_, _, qubo) in enumerate(problems):
            minimum = qubo.minimum()[1]
            close = minimum + 1e-9 * (np.ptp(qubo.objective_range) or 1.0)
            size = qubo.feasible_space().size
            shots = max(4, size // 16)
            sweeps = max(1, shots // (8 * qubo.n))
            solvers: dict[str, tuple[str, dict[str, Any]]] = {
                "qaoa": ("qaoa", {"shots": shots}),
                "qaoa, ramp": ("qaoa", {"shots": shots, "angles": "ramp"}),
                "qaoa, no entangling": ("qaoa", {"shots": shots, "entangle": False}),
                "qaoa, shuffled problem": ("qaoa", {"shots": shots, "shuffle": True}),
                "annealing": ("annealing", {"reads": 8, "sweeps": sweeps}),
                "greedy": ("greedy", {"restarts": 4, "evaluations": shots}),
                "random": ("random", {"shots": shots}),
            }
            if qubo.n <= 18:
                solvers |= {"vqe": ("vqe", VQE), "vqe, product": ("vqe", {**VQE, "entangle": False})}
            for label, (name, given) in solvers.items():
                solution = make_solver(name, **given).solve(qubo, seed=number)
                hits.setdefault(label, []).append(bool(solution.feasible.any() and solution.energy <= close))
            hits.setdefault("continuous, rounded", []).append(Relaxation().solve(qubo, number).energy <= close)
            base = np.zeros(qubo.n)
            base[[block[2] for block in qubo.one_hot]] = 1
            hits.setdefault("all-ones (the base step)", []).append(qubo.energy(base) <= close)
        rows += [{"states": 6**blocks, "solver": label, **share(values)} for label, values in hits.items()]
    return rows


def trained(task: Task, rival: Rival, seed: int, best: float, every: int) -> Descent:
    """A training of a task that can begin. best: the rate of tuned Adam."""
    rate = best if rival.tuned else RATE
    return Descent(task, seed, hybrid(task, rival.solver, seed, rate, rival.kind, every=every, blocks=rival.blocks))


def tasks(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Held-out losses, and their differences from the base and from tuned Adam, seed by seed."""
    rows = []
    for name in options.tasks:
        make, budget = TASKS[name], options.budget
        tuning = {rate: Descent(t := make(TUNING), TUNING, adam(t, rate)).until(budget).at(0, budget) for rate in RATES}
        best = min(tuning, key=lambda rate: tuning[rate])
        losses: dict[tuple[str, str], list[float]] = {}
        for rival in RIVALS.values():  # what is imported and compiled at the first choice does not count
            warm = trained(make(TUNING), rival, TUNING, best, 2)
            while warm.steps < 6:
                warm.step()
        taken: dict[str, list[float]] = {}
        for seed in range(options.seeds):
            runs = {"base": Descent(t := make(seed), seed, adam(t, RATE))}
            runs["tuned Adam"] = Descent(t := make(seed), seed, adam(t, best))
            for label, rival in RIVALS.items():
                runs[f"hybrid, {label}"] = trained(make(seed), rival, seed, best, options.every)
            for turn in range(TURNS):  # so that a machine that gets slower is as slow for each of them
                for run in runs.values():  # the base first, whose seconds the others have, too
                    run.until(budget * (turn + 1) / TURNS, runs["base"].seconds)
            for label, run in runs.items():
                losses.setdefault((label, "equivalents"), []).append(run.at(0, budget))
                losses.setdefault((label, "clock"), []).append(run.at(1, runs["base"].seconds))
                if isinstance(run.optimizer, HybridOptimizer):
                    taken.setdefault(label, []).append(run.optimizer.counts.accepted)
        for (label, equal), values in losses.items():
            reference = np.array(losses["tuned Adam", equal])
            row = {"task": name, "rate": best, "equal": equal, "by": label, **mean(values)}
            row["minus tuned Adam"] = mean(list(np.array(values) - reference))["interval"]
            rows.append({**row, "accepted": float(np.mean(taken.get(label, [0])))})
    return rows


def overhead(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Processor time of a training at the default cadence, by that of the base; both take turns of ten steps."""

    def ratio(name: str, seed: int, steps: int) -> float:
        runs = []
        for every in (None, 128):
            task = TASKS[name](seed)
            optimizer = hybrid(task, SOLVERS["qaoa"], seed, every=every, overhead=0.03, blocks=4)
            runs.append(Descent(task, seed, optimizer))
        while runs[0].steps < steps:
            for run in runs:
                for _ in range(10):
                    run.step()
        return runs[1].seconds / runs[0].seconds

    rows = []
    for name in options.tasks:
        ratio(name, TUNING, 130)  # imports and compiles
        rows.append({"task": name, **mean([ratio(name, seed, options.budget) for seed in range(options.seeds)])})
    return rows


if __name__ == "__main__":
    main()
