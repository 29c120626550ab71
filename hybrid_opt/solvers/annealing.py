"""Simulated annealing, here or on a backend that anneals."""

from collections.abc import Sequence
from dataclasses import field
from math import frexp
from threading import Event
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import AnnealProgram
from hybrid_opt.cost import Cost, SolverCost
from hybrid_opt.effect import refuse_idle
from hybrid_opt.errors import Cancelled, ProblemError
from hybrid_opt.problem.quadratic import Bits
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.solvers.local_search import descend
from hybrid_opt.solvers.running import run, share
from hybrid_opt.solvers.solver import Solution, Solver
from hybrid_opt.solvers.trace import running_best

ROWS = 1 << 20  # entries of a matrix that are looked at together
COLDEST = 1e300  # inverse temperature


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class AnnealConfig:
    """What all anneals take."""

    reads: PositiveInt = 64
    """samples, each of an anneal of its own"""
    sweeps: PositiveInt = 100
    """over all variables in each"""
    beta_range: tuple[PositiveFloat, PositiveFloat] | None = None
    """first and last inverse temperature; null: from where the largest flip is accepted every other time to a hundred
    times the inverse of a typical one"""
    penalty: PositiveFloat | Literal["auto"] = "auto"
    """weight of broken constraints; auto: see Qubo.penalised"""
    descent: bool = False
    """repair the samples and descend from them"""
    shuffle: bool = False
    """true: the control on the shuffled problem"""
    options: dict[str, Any] = field(default_factory=dict)
    """of a backend that anneals, in place of sweeps and ranges, such as annealing_time"""


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class AnnealingConfig(AnnealConfig):
    """Simulated annealing, or a backend that anneals. The steps of beta_range are geometric."""

    constraints: Literal["moves", "penalties"] = "moves"
    """kept by moves, or turned into penalties as for a backend"""


class Annealing(Solver):
    """Metropolis sweeps at falling temperature, or the anneals of a backend.

    Here free problems and penalties take single flips (dwave-samplers), constraints that are kept take exchanges too.
    With beta_range=(1, 1) and enough sweeps the samples follow exp(-energy). Under penalties they may be infeasible. An
    evaluation is a move that was tried.
    """

    name = "annealing"
    Config: ClassVar[type[Any]] = AnnealingConfig
    runs_on = "anneals"

    def _check_options(self, here: bool) -> None:
        config = self.config
        if config.options and here:
            raise ProblemError(f"solver.options={config.options}: only an annealing backend takes any")
        moves = here and getattr(config, "constraints", "penalties") == "moves"
        refuse_idle(config, "penalty", moves, "constraints=penalties", "solver.")
        refuse_idle(config, "sweeps beta_range field_range constraints", not here, "backend=statevector", "solver.")

    def _solve(self, qubos: Sequence[Qubo], seed: int, key: str, stop: Event) -> list[Solution]:
        if not qubos:
            return []
        rngs = [np.random.default_rng((seed, number)) for number in range(len(qubos))]
        asked = [self._asked(qubo, rng) for qubo, rng in zip(qubos, rngs, strict=True)]
        if self.backend is None:
            solutions = []
            for qubo, other, rng in zip(qubos, asked, rngs, strict=True):
                samples, evaluations = self._anneal(other, rng, stop)
                if stop.is_set():
                    raise Cancelled(f"job {key} was cancelled")
                cost = Cost(shots=self.config.reads, evaluations=evaluations)
                solutions.append(self._finish(qubo, samples, cost, rng, {}))
            return solutions
        penalised = tuple(self._penalised(qubo) for qubo in asked)
        program = AnnealProgram(penalised, self.config.reads, self.config.options)
        result = run(self.backend, program, key, seed, stop)
        costs = [share(result.cost, len(qubos), number) for number in range(len(qubos))]
        parts = zip(qubos, result.samples, costs, rngs, strict=True)
        return [self._finish(*each, dict(result.about)) for each in parts]

    def _penalised(self, qubo: Qubo) -> Qubo:
        return qubo.penalised(self.config.penalty) if qubo.constrained else qubo

    def _anneal(self, qubo: Qubo, rng: np.random.Generator, stop: Event) -> tuple[Bits, int]:
        """Samples [reads, n], and the evaluations that they took."""
        reads, sweeps = self.config.reads, self.config.sweeps
        if qubo.constrained and self.config.constraints == "moves":
            from hybrid_opt.solvers.metropolis import anneal  # it is compiled

            first, last = self.config.beta_range or beta_range(qubo)
            betas = np.geomspace(first, last, sweeps)
            return anneal(qubo, qubo.feasible_space().draw(reads, rng), betas, rng, stop.is_set)
        from dwave.samplers import SimulatedAnnealingSampler

        qubo = self._penalised(qubo)
        sampler: Any = SimulatedAnnealingSampler  # dwave-samplers is typed in part
        sampleset = sampler().sample(
            qubo.to_bqm(),
            beta_range=self.config.beta_range or beta_range(qubo),
            num_reads=reads,
            num_sweeps=sweeps,
            seed=int(rng.integers(1 << 31)),
            interrupt_function=stop.is_set,
        )
        return in_order(sampleset, qubo), reads * sweeps * qubo.n

    def _finish(
        self, qubo: Qubo, samples: Bits, cost: Cost, rng: np.random.Generator, about: dict[str, Any]
    ) -> Solution:
        spent = np.arange(1, len(samples) + 1) * (cost.evaluations / len(samples) or 1.0)
        if self.config.descent:
            samples, changed = qubo.repair(samples)
            samples, evaluations = descend(qubo, samples, rng)
            cost += Cost(evaluations=int(evaluations.sum()))
            about["repaired"] = int((changed > 0).sum())
            spent += evaluations.cumsum()
        energies = np.where(qubo.feasible(samples), qubo.energy(samples), np.inf)
        return Solution.of(
            qubo,
            samples,
            SolverCost(sampling=cost),
            origin=about.get("origin", "run"),
            trace=running_best(spent, energies),
            about=about,
        )


def beta_range(qubo: Qubo) -> tuple[float, float]:
    """Inverse temperatures from where the largest flip is accepted every other time to 100 / (a typical flip)."""
    # In units, as squares of tiny energies are 0; a few rows at once, as the matrix of a sparse problem is large.
    unit = 2.0 ** frexp(max(np.abs(qubo.linear).max(), np.abs(qubo.couplings).max()))[1]  # powers of two are exact
    rows = [part / unit for part in np.array_split(qubo.couplings, -(-(qubo.n**2) // ROWS))]
    sums, sizes, squares = (
        np.concatenate([of(part).sum(1) for part in rows]) for of in (np.positive, np.abs, np.square)
    )
    fields = -qubo.linear / unit / 2 - sums / 4  # of spins
    largest = 2 * unit * float((np.abs(fields) + sizes / 4).max())
    if not largest:
        return 1.0, 1.0
    typical = 2 * unit * float(np.sqrt((fields**2 + squares / 16).mean()))
    return min(float(np.log(2)) / largest, COLDEST), min(100 / typical, COLDEST)


def in_order(sampleset: Any, qubo: Qubo) -> Bits:
    """The samples of a dimod sample set with columns in the order of the Qubo's labels, uint8 [S, n]."""
    columns = [sampleset.variables.index(label) for label in qubo.labels]
    return np.ascontiguousarray(sampleset.record.sample[:, columns], np.uint8)
