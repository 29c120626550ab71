"""Random sampling: the control that every solver has to beat."""

from collections.abc import Sequence
from threading import Event

import numpy as np
from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass

from hybrid_opt.cost import Cost, SolverCost
from hybrid_opt.errors import Cancelled
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.solvers.solver import Solution, Solver
from hybrid_opt.solvers.trace import running_best


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class RandomConfig:
    """Random feasible states: the control that every solver has to beat."""

    shots: PositiveInt = 1024
    """states drawn"""


class Random(Solver):
    """Feasible states, each equally likely, with replacement."""

    name = "random"
    Config = RandomConfig

    def _solve(self, qubos: Sequence[Qubo], seed: int, key: str, stop: Event) -> list[Solution]:
        solutions = []
        shots = self.config.shots
        for number, qubo in enumerate(qubos):
            if stop.is_set():
                raise Cancelled(f"job {key} was cancelled")
            bits = qubo.feasible_space().draw(shots, np.random.default_rng((seed, number)))
            trace = running_best(np.arange(1, shots + 1), qubo.energy(bits))
            cost = SolverCost(sampling=Cost(shots=shots, evaluations=shots))
            solutions.append(Solution.of(qubo, bits, cost, trace=trace))
        return solutions
