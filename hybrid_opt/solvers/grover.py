"""Grover adaptive search for the state of least energy."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil, inf, isqrt, sqrt
from threading import Event
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, PositiveInt, model_validator
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import CircuitProgram, Result
from hybrid_opt.circuits.grover import OracleName, grover_circuit, success_probability
from hybrid_opt.cost import Cost, SolverCost
from hybrid_opt.effect import refuse_idle
from hybrid_opt.errors import Cancelled, ProblemError
from hybrid_opt.problem.enumeration import LARGEST
from hybrid_opt.problem.quadratic import Bits
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.solvers.running import origin, run, total
from hybrid_opt.solvers.solver import Solution, Solver
from hybrid_opt.solvers.trace import running_best

Measure = Callable[[int, float], tuple[Any, float]]  # iterations, threshold -> one measured state, and its energy


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class GroverConfig:
    """Grover adaptive search."""

    queries: PositiveInt | None = None
    """after which the search ends; null: 9 sqrt(N) for N feasible states"""
    growth: Annotated[float, Field(gt=1.0, lt=4 / 3)] = 6 / 5
    """of the range of iterations after a measurement that found nothing better"""
    oracle: OracleName = "comparison"
    """of the circuits that a backend runs: comparison or diagonal"""
    precision: Annotated[int, Field(ge=1, le=24)] = 6
    """bits of an energy in oracle=comparison"""
    shuffle: bool = False
    """true: the control on the shuffled problem"""

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        refuse_idle(self, "precision", self.oracle != "comparison", "oracle=comparison")
        return self


class Grover(Solver):
    """Minimum finding by Grover iterations (Duerr and Hoyer 1996) of random number (Boyer, Brassard, Hoyer, Tapp 1998).

    The threshold is the least energy so far. Each round draws a number of iterations below a range, measures one
    state, and evaluates its energy. If that is lower, it is the new threshold and the range is 1 again; else the range
    grows, up to sqrt(N). The search cannot know that it is done: it ends when its queries are spent, and 9 sqrt(N) of
    them find the optimum with a probability of at least 0.998.

    queries counts every iteration, which calls the oracle once, and every measured state, whose energy is evaluated
    once. about["first_hit"]: the queries by which the optimum was first measured, None where it was not; on a backend,
    where nobody knows the optimum, those of the best state. samples: what was measured, in that order.

    Without a backend the measurements are drawn from the exact law, which follows from the number of states below the
    threshold, up to 2^24 feasible states. Only feasible states are searched.
    """

    name = "grover"
    Config = GroverConfig
    runs_on = "circuits"

    def _check_options(self, here: bool) -> None:
        refuse_idle(self.config, "oracle precision", here, "a backend", "solver.")

    def check(self, qubo: Qubo) -> None:
        size = qubo.feasible_space().size
        if self.backend is None and size > LARGEST:
            raise ProblemError(f"solver={self.name}: {size} feasible states; up to {LARGEST} are accepted")

    def _solve(self, qubos: Sequence[Qubo], seed: int, key: str, stop: Event) -> list[Solution]:
        solutions = []
        for number, qubo in enumerate(qubos):
            rng = np.random.default_rng((seed, number))
            asked = self._asked(qubo, rng).centred()
            if self.backend is None:
                solutions.append(self._simulated(qubo, asked, rng, key, stop))
            else:
                solutions.append(self._on_backend(qubo, asked, rng, f"{key}-{number}", stop))
        return solutions

    def _simulated(self, qubo: Qubo, asked: Qubo, rng: np.random.Generator, key: str, stop: Event) -> Solution:
        space, slack_at = asked.feasible_space(), _slack(asked)
        energies = space.energies()
        below: NDArray[Any] = np.empty(0, np.int64)
        bound = inf  # states in `below` have less, and are marked; there is none before the first threshold

        def measure(iterations: int, threshold: float) -> tuple[int, float]:
            nonlocal below, bound
            slack = slack_at(threshold)
            if threshold - slack < bound:
                marked = (energies if bound == inf else energies[below]) < threshold - slack
                below = np.flatnonzero(marked) if bound == inf else below[marked]
                bound = threshold - slack
            if rng.random() < success_probability(iterations, below.size, space.size):
                state = int(below[rng.integers(below.size)])
            else:
                state = int(rng.integers(space.size))
                while energies[state] < bound < inf:  # a marked one: draw again
                    state = int(rng.integers(space.size))
            return state, float(energies[state])

        states, spent = self._search(asked, measure, rng, key, stop)
        least = float(energies.min())
        hits = spent[energies[states] <= least + slack_at(least)]
        return self._finish(qubo, asked, space.bits(states), spent, Cost(), int(hits[0]) if len(hits) else None)

    def _on_backend(self, qubo: Qubo, asked: Qubo, rng: np.random.Generator, key: str, stop: Event) -> Solution:
        backend, results = self.backend, list[Result]()
        assert backend is not None

        def measure(iterations: int, threshold: float) -> tuple[Bits, float]:
            circuit = grover_circuit(asked, threshold, iterations, self.config.oracle, self.config.precision)
            program = CircuitProgram(circuit, np.zeros((1, 0)), shots=1, noise=self.noise)
            results.append(run(backend, program, f"{key}-{len(results)}", int(rng.integers(1 << 31)), stop))
            bits = results[-1].samples[0][0, : asked.n]
            return bits, asked.energy(bits) if asked.feasible(bits) else inf

        measured, spent = self._search(asked, measure, rng, key, stop)
        samples = np.array(measured)
        ranked = np.where(asked.feasible(samples), asked.energy(samples), np.inf)
        solution = self._finish(qubo, asked, samples, spent, total(results), int(spent[ranked.argmin()]))
        return replace(solution, origin=origin(results))

    def _search(
        self, qubo: Qubo, measure: Measure, rng: np.random.Generator, key: str, stop: Event
    ) -> tuple[list[Any], NDArray[np.int64]]:
        """The states that were measured [S], and the queries by then [S]."""
        size, slack_at = qubo.feasible_space().size, _slack(qubo)
        limit = self.config.queries or isqrt(81 * size)
        states, spent, best, width = list[Any](), [0], inf, 1.0
        while spent[-1] < limit:
            if stop.is_set():
                raise Cancelled(f"job {key} was cancelled")
            iterations = min(int(rng.integers(ceil(width))), limit - spent[-1] - 1) if states else 0
            state, energy = measure(iterations, best)
            states.append(state)
            spent.append(spent[-1] + iterations + 1)
            if energy < best - slack_at(best):
                best, width = energy, 1.0
            else:
                width = min(self.config.growth * width, sqrt(size))
        return states, np.array(spent[1:])

    def _finish(
        self, qubo: Qubo, asked: Qubo, samples: Bits, spent: NDArray[np.int64], cost: Cost, first_hit: int | None
    ) -> Solution:
        measured = len(samples)
        counted = Cost(evaluations=measured, queries=int(spent[-1]))
        if self.backend is None:
            counted += Cost(shots=measured, circuits=measured)
        energies = np.where(qubo.feasible(samples), qubo.energy(samples), np.inf)
        about = {"first_hit": first_hit, "states": asked.feasible_space().size}
        trace = running_best(spent, energies)
        return Solution.of(qubo, samples, SolverCost(sampling=cost + counted), trace=trace, about=about)


def _slack(qubo: Qubo) -> Callable[[float], float]:
    """Energies this close to a threshold are equal: what rounding may do.

    A coefficient that the negative ones cannot bring below the threshold is in none of the states that compete, and
    one that forbids, such as 1e17 among ones, does not count.
    """
    values = np.concatenate([qubo.linear, qubo.couplings.ravel()])
    lowest, positive = -float(np.minimum(values, 0.0).sum()), np.sort(values[values > 0])
    sums = np.concatenate([[0.0], positive.cumsum()])
    return lambda best: 1e-12 * (lowest + float(sums[positive.searchsorted(best + lowest, side="right")]))
