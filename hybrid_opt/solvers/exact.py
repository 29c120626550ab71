"""Exact solution by the energies of all feasible states."""

from collections.abc import Sequence
from threading import Event

import numpy as np
from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass

from hybrid_opt.cost import Cost, SolverCost
from hybrid_opt.errors import Cancelled, ProblemError
from hybrid_opt.problem.enumeration import LARGEST
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.solvers.solver import Solution, Solver


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class ExactConfig:
    """All feasible states: the control that no solver can beat."""

    samples: PositiveInt = 1
    """how many of the best states are returned"""
    shuffle: bool = False
    """true: the control on the shuffled problem"""


class Exact(Solver):
    """The best feasible states, up to 2^24 feasible states. Ties go to the least number; the seed only shuffles."""

    name = "exact"
    Config = ExactConfig

    def check(self, qubo: Qubo) -> None:
        size = qubo.feasible_space().size
        if size > LARGEST:
            raise ProblemError(f"solver={self.name}: {size} feasible states; up to {LARGEST} are accepted")

    def _solve(self, qubos: Sequence[Qubo], seed: int, key: str, stop: Event) -> list[Solution]:
        solutions = []
        for number, qubo in enumerate(qubos):
            if stop.is_set():
                raise Cancelled(f"job {key} was cancelled")
            asked = self._asked(qubo, np.random.default_rng((seed, number)))
            bits, _ = asked.k_best(self.config.samples)
            size = asked.feasible_space().size
            trace = np.array([[size, qubo.energy(bits).min()]])
            solutions.append(Solution.of(qubo, bits, SolverCost(sampling=Cost(evaluations=size)), trace=trace))
        return solutions
