"""Greedy descent from random feasible states."""

from collections.abc import Sequence
from threading import Event

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass

from hybrid_opt.cost import Cost, SolverCost
from hybrid_opt.errors import Cancelled
from hybrid_opt.problem.quadratic import Bits
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.solvers.local_search import descend
from hybrid_opt.solvers.solver import Solution, Solver
from hybrid_opt.solvers.trace import running_best


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class GreedyConfig:
    """Greedy descents from random states.

    A descent that does not end within the evaluations is dropped, unless it is the first.
    """

    restarts: PositiveInt = 32
    """descents"""
    evaluations: PositiveInt | None = None
    """as many descents as these allow; null: as many as restarts says"""
    shuffle: bool = False
    """true: the control on the shuffled problem"""


class Greedy(Solver):
    """Descents by moves that keep the constraints; a sample is the minimum that one of them found."""

    name = "greedy"
    Config = GreedyConfig

    def _solve(self, qubos: Sequence[Qubo], seed: int, key: str, stop: Event) -> list[Solution]:
        return [
            self._descents(qubo, np.random.default_rng((seed, number)), key, stop) for number, qubo in enumerate(qubos)
        ]

    def _descents(self, qubo: Qubo, rng: np.random.Generator, key: str, stop: Event) -> Solution:
        asked = self._asked(qubo, rng)
        space, budget = asked.feasible_space(), self.config.evaluations
        minima: list[Bits] = []
        counts: list[NDArray[np.int64]] = []
        while not minima or (budget is not None and sum(int(part.sum()) for part in counts) <= budget):
            if stop.is_set():
                raise Cancelled(f"job {key} was cancelled")
            bits, evaluations = descend(asked, space.draw(self.config.restarts, rng), rng)
            minima.append(bits)
            counts.append(evaluations)
        samples, spent = np.concatenate(minima), np.concatenate(counts).cumsum()
        if budget is not None:
            kept = max(1, int(np.searchsorted(spent, budget, side="right")))
            samples, spent = samples[:kept], spent[:kept]
        cost = SolverCost(sampling=Cost(shots=len(samples), evaluations=int(spent[-1])))
        return Solution.of(qubo, samples, cost, trace=running_best(spent, qubo.energy(samples)))
