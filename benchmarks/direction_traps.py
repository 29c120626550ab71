"""Escapes: `python -m benchmarks.direction traps` and `basin`."""

import argparse
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import mean, share
from hybrid_opt import Qubo, make_solver
from hybrid_opt.direction.optimizer import HybridOptimizer
from hybrid_opt.solvers.local_search import descend

STEPS = 150  # of gradient descent, into a minimum


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
    first, second = nn.Linear(2, 8), nn.Linear(8, 8)
    model = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Linear(8, 2))
    with torch.no_grad():
        for layer in (first, second):
            layer.bias.add_(6)
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
