"""Update directions by Qubo: `python -m benchmarks.direction [PART ...] [--seeds N] [--json PATH]`.

quality: every solver on the identical problems that training poses (recorded from the tasks; 6 moves of 6 blocks), with
shots, evaluations or descents for as many states as a sixteenth of the feasible ones; and on those of 3 blocks, which
fit VQE. traps: spin glasses in cos(pi x) of 12..16 parameters on which one greedy descent finds the minimum in less
than a fifth of 500 tries; escapes by each solver, and controls at equal loss evaluations. basin: networks with
saturated units. tasks: held-out loss at equal gradient-equivalents (three losses count as one gradient) and at equal
wall-clock, against the base and against tuned Adam. overhead: processor time of `budget` steps at the default cadence
and limit of training, by that of the base.

Intervals are 95 %: Wilson's for shares, bootstrap for means over seeds. Losses of the trap are exact to 1e-3.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hybrid_opt import Qubo, make_solver
from hybrid_opt.direction import HybridOptimizer
from hybrid_opt.solvers.descent import descend
from worldmodel.optimisation.descent import Descent
from worldmodel.optimisation.losses import TASKS, Task

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


def main() -> None:
    """Run the parts and print their tables."""
    parts: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
        "quality": quality, "traps": traps, "basin": basin, "tasks": tasks, "overhead": overhead,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="all of them by default")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--problems", type=int, default=10, help="recorded of each task and seed, and traps of each size"
    )
    parser.add_argument("--budget", type=int, default=2000, help="gradient-equivalents of a training")
    parser.add_argument("--every", type=int, default=50, help="steps between choices in training")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[12, 14, 16], help="parameters of traps")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tables = {}
    for name in options.parts or parts:
        tables[name] = parts[name](options)
        print(f"\n{name}")
        for row in tables[name]:
            print("  " + "  ".join(f"{key} {_text(value)}" for key, value in row.items()), flush=True)
        if options.json:
            options.json.write_text(json.dumps(tables, indent=1) + "\n")


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def share(hits: list[bool]) -> dict[str, Any]:
    """Successes with Wilson's interval."""
    n, p, z = len(hits), float(np.mean(hits)), 1.96
    middle, width = p + z * z / (2 * n), z * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    return {"n": n, "share": p, "interval": [(middle + s * width) / (1 + z * z / n) for s in (-1, 1)]}


def mean(values: list[float]) -> dict[str, Any]:
    """Mean over seeds with a bootstrap interval."""
    array = np.asarray(values)
    draws = array[np.random.default_rng(0).integers(len(array), size=(5000, len(array)))].mean(1)
    return {"n": len(array), "mean": float(array.mean()), "interval": np.percentile(draws, [2.5, 97.5]).tolist()}


def adam(task: Task, rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(list(task.parameters.items()), lr=rate)


def hybrid(task: Task, solver: Any, seed: int, rate: float = RATE, **options: Any) -> HybridOptimizer:
    optimizer = HybridOptimizer(adam(task, rate), solver=solver, seed=seed, **options)
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


def relaxed(qubo: Qubo, seed: int) -> float:
    """The continuous solve: the best rounding of local minima over mixtures of moves, from four starts."""
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    matrix, shape = qubo.matrix, (len(qubo.one_hot), -1)
    best = np.inf
    for start in np.random.default_rng(seed).normal(size=(4, qubo.n)):

        def value(logits: Any) -> tuple[float, Any]:
            z = np.exp(logits.reshape(shape) - logits.reshape(shape).max(1, keepdims=True))
            p = z / z.sum(1, keepdims=True)
            slope = ((matrix + matrix.T) @ p.ravel()).reshape(p.shape)
            back = p * (slope - (p * slope).sum(1, keepdims=True))
            scale = np.abs(matrix).max() or 1.0
            return float(p.ravel() @ matrix @ p.ravel()) / scale, back.ravel() / scale

        found = minimize(value, start, jac=True, method="L-BFGS-B").x.reshape(shape)
        bits = np.eye(found.shape[1], dtype=np.uint8)[found.argmax(1)].ravel()
        best = min(best, qubo.energy(bits))
    return float(best)


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
                vqe = {"shots": 64, "steps": 50, "training_shots": 32}
                solvers |= {"vqe": ("vqe", vqe), "vqe, product": ("vqe", {**vqe, "entangle": False})}
            for label, (name, given) in solvers.items():
                solution = make_solver(name, **given).solve(qubo, seed=number)
                hits.setdefault(label, []).append(bool(solution.feasible.any() and solution.energy <= close))
            hits.setdefault("continuous, rounded", []).append(relaxed(qubo, number) <= close)
            base = np.zeros(qubo.n)
            base[[block[2] for block in qubo.one_hot]] = 1
            hits.setdefault("all-ones (the base step)", []).append(qubo.energy(base) <= close)
        rows += [{"states": 6**blocks, "solver": label, **share(values)} for label, values in hits.items()]
    return rows


def glass(n: int, seed: int) -> Qubo:
    """A spin glass on a ring with chords (degree 3 where n is even), on which greedy descents fail."""
    for number in range(10_000):
        rng = np.random.default_rng((seed, n, number))
        couplings, order = np.zeros((n, n)), rng.permutation(n)
        for a, b in [*zip(order, np.roll(order, 1), strict=True), *zip(order[: n // 2], order[n // 2 :], strict=False)]:
            couplings[min(a, b), max(a, b)] = rng.normal()
        qubo = Qubo.from_ising(0.1 * rng.normal(size=n), couplings)
        minima, _ = descend(qubo, rng.integers(0, 2, (500, n), np.uint8), rng)
        if (qubo.energy(minima) <= qubo.minimum()[1] + 1e-9).mean() < 0.2:
            return qubo
    raise RuntimeError(f"no rugged problem of {n} variables in 10,000")


class Trap:
    """The glass as a loss of n parameters, s = cos(pi x), from a random start; a gradient is three evaluations."""

    def __init__(self, qubo: Qubo, seed: int) -> None:
        self.qubo, self.n = qubo, qubo.n
        h, j, self.offset = qubo.to_ising()
        self.h, self.j, self.evaluations = torch.from_numpy(h), torch.from_numpy(j), 0.0
        self.rng = np.random.default_rng((seed, 2))
        self.parameters = {f"x{i}": torch.zeros(1, dtype=torch.float64, requires_grad=True) for i in range(self.n)}
        self.restart()

    def restart(self) -> None:
        with torch.no_grad():
            for parameter in self.parameters.values():
                parameter.fill_(self.rng.uniform(0, 1))

    def loss(self, values: Any, batch: Any = None, generator: Any = None) -> Tensor:
        s = torch.cos(torch.pi * torch.cat([values[f"x{i}"] for i in range(self.n)]))
        return self.offset + self.h @ s + s @ self.j @ s

    def descend(self, optimizer: Any, steps: int) -> float:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = self.loss(self.parameters)
            loss.backward()
            self.evaluations += 3
            optimizer.step(loss=loss) if isinstance(optimizer, HybridOptimizer) else optimizer.step()
        return float(self.loss(self.parameters).detach())

    def base(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(list(self.parameters.items()), lr=0.02)


STEPS = 150  # of gradient descent, into a minimum


def traps(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Whether a training ends in the grid's minimum."""
    vqe = {"name": "vqe", "steps": 150}
    solvers: dict[str, Any] = {
        "escape by path_integral": "path_integral",
        "escape by vqe": vqe,
        "escape by vqe, product": {**vqe, "entangle": False},
        "escape by qaoa": "qaoa",
        "escape by annealing": "annealing",
        "escape by exact": "exact",
        "escape by random": "random",
    }
    rows = []
    for n in options.sizes:
        hits: dict[str, list[bool]] = {}
        spent: list[float] = []
        for number in range(options.problems):
            qubo = glass(n, number)
            good = qubo.minimum()[1] + 1e-3
            for label, solver in solvers.items():
                trap = Trap(qubo, number)
                escape = {"patience": 40, "solver": solver, "blocks": n, "directions": 1, "multiples": [1.0],
                          "length": 1.0, "unit": "absolute"}  # fmt: skip
                optimizer = HybridOptimizer(trap.base(), solver="exact", every=None, escape=escape, seed=number)
                optimizer.attach(trap.loss)
                final = trap.descend(optimizer, 3 * STEPS)
                hits.setdefault(label, []).append(final <= good)
                total = trap.evaluations + 3 * optimizer.counts.equivalents
            spent.append(total)
            trap = Trap(qubo, number)
            hits.setdefault("gradient descent", []).append(trap.descend(trap.base(), STEPS) <= good)
            found = False
            while trap.evaluations < total:
                trap.restart()
                found |= trap.descend(trap.base(), STEPS) <= good
            hits.setdefault("gradient descent, restarts", []).append(found or hits["gradient descent"][-1])
            greedy = make_solver("greedy", restarts=1, evaluations=round(total)).solve(qubo, seed=number)
            hits.setdefault("greedy restarts on the grid", []).append(greedy.energy <= good)
        rows += [{"n": n, "evaluations": float(np.mean(spent)), "by": label, **share(hits[label])} for label in hits]
    return rows


def saturated(seed: int) -> nn.Module:
    """A network whose units of tanh are all saturated: its gradient is next to nothing, and its loss that of chance."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].bias.add_(6)
        model[2].bias.add_(6)
    return model


def basin(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Final training loss of saturated networks, on two interleaved half circles."""
    finals: dict[str, list[float]] = {}
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        angle, side = rng.uniform(0, np.pi, 256), rng.integers(2, size=256)
        points = np.stack([np.cos(angle) * (1 - 2 * side) + side, np.sin(angle) * (1 - 2 * side) + side / 2], 1)
        x, y = torch.tensor(points + 0.1 * rng.normal(size=points.shape), dtype=torch.float32), torch.tensor(side)

        def descent(
            start: int, steps: int, solver: Any = None, seed: int = seed, x: Tensor = x, y: Tensor = y
        ) -> float:
            model = saturated(start)

            def loss(parameters: Any, batch: Any, generator: Any) -> Tensor:
                rows = torch.randint(256, (64,), generator=generator)
                return nn.functional.cross_entropy(torch.func.functional_call(model, parameters, (x[rows],)), y[rows])

            base = torch.optim.SGD(list(model.named_parameters()), lr=0.05)
            escape = {"patience": 100, "solver": solver, "blocks": 3, "length": 0.5, "tolerance": 0.02}
            optimizer = HybridOptimizer(base, solver="exact", every=None, seed=seed, escape=escape if solver else None)
            optimizer.attach(loss)
            for _ in range(steps):
                optimizer.zero_grad()
                value = nn.functional.cross_entropy(model(x), y)
                value.backward()
                optimizer.step(loss=value)
            return float(value.detach())

        for label in ("path_integral", "vqe", "vqe, product", "annealing", "greedy", "random"):
            solver: Any = {"name": "vqe", "entangle": label == "vqe"} if label.startswith("vqe") else label
            finals.setdefault(f"escape by {label}", []).append(descent(seed, options.budget, solver))
        finals.setdefault("gradient descent", []).append(descent(seed, options.budget))
        starts = [descent(1000 * (seed + 1) + number, options.budget // 4) for number in range(4)]
        finals.setdefault("gradient descent, 4 restarts", []).append(min(starts))
    return [{"by": label, **mean(values), "worst": max(values)} for label, values in finals.items()]


def tasks(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Held-out losses, and their differences from the base and from tuned Adam, seed by seed."""
    rows = []
    for name in options.tasks:
        make, budget = TASKS[name], options.budget
        tuning = {rate: Descent(t := make(TUNING), TUNING, adam(t, rate)).until(budget).at(0, budget) for rate in RATES}
        best = min(tuning, key=lambda rate: tuning[rate])
        losses: dict[tuple[str, str], list[float]] = {}
        for solver in SOLVERS.values():  # what is imported and compiled at the first choice does not count
            warm = Descent(t := make(TUNING), TUNING, hybrid(t, solver, TUNING, every=2, blocks=4))
            while warm.steps < 6:
                warm.step()
        taken: dict[str, list[float]] = {}
        for seed in range(options.seeds):
            runs = {"base": Descent(t := make(seed), seed, adam(t, RATE))}
            runs["tuned Adam"] = Descent(t := make(seed), seed, adam(t, best))
            for label, solver in SOLVERS.items():
                task = make(seed)
                runs[f"hybrid, {label}"] = Descent(
                    task, seed, hybrid(task, solver, seed, every=options.every, blocks=4)
                )
            for label in ("qaoa", "random"):
                optimizer = hybrid(t := make(seed), SOLVERS[label], seed, best, every=options.every, blocks=4)
                runs[f"hybrid on tuned Adam, {label}"] = Descent(t, seed, optimizer)
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
