"""The contract of solvers: a Qubo in, a Solution out."""

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.backends.backend import Backend
from hybrid_opt.cost import Cost, SolverCost
from hybrid_opt.errors import ProblemError
from hybrid_opt.job import Job, ThreadJob
from hybrid_opt.qubo import Qubo

Origin = Literal["run", "fallback", "cache"]


@dataclass(frozen=True)
class Solution:
    """What a solver found for a Qubo of n variables.

    bits: the best feasible sample, uint8 [n]; the best of all where none is feasible. samples: every raw sample, never
    aggregated or repaired, uint8 [S, n], with energies float64 [S] and feasible bool [S]. origin: where the samples
    come from. angles: parameters of the circuit. trace: float64 [rows, 2], the evaluations so far (shots, energies or
    queries, whatever the solver counts) and the best energy by then.
    """

    bits: NDArray[np.uint8]
    energy: float
    samples: NDArray[np.uint8]
    energies: NDArray[np.float64]
    feasible: NDArray[np.bool_]
    cost: SolverCost
    origin: Origin = "run"
    angles: NDArray[np.float64] | None = None
    trace: NDArray[np.float64] | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(qubo: Qubo, samples: NDArray[np.uint8], cost: SolverCost, **rest: Any) -> "Solution":
        """Evaluate samples [S, n] and pick the best feasible one."""
        samples = np.ascontiguousarray(samples, np.uint8)
        energies, feasible = qubo.energy(samples), qubo.feasible(samples)
        ranked = np.where(feasible, energies, np.inf) if feasible.any() else energies
        best = int(ranked.argmin())
        return Solution(samples[best], float(energies[best]), samples, energies, feasible, cost, **rest)


class Solver(ABC):
    """Base of all solvers. Subclasses implement `_solve`; a seed fixes its result on every simulator.

    Config: the pydantic dataclass of its options. runs_on: what its backends must be able to do: "circuits", "anneals",
    or "" where it runs right here only. `backend` is None where it runs right here too: the name was statevector, and
    neither a ledger, a budget nor a fallback wants to know.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Any]]
    runs_on: ClassVar[Literal["", "circuits", "anneals"]] = ""

    def __init__(
        self, config: Any, *, backend: Any = "statevector", ledger: Any = None, budget: Any = None, fallback: Any = None
    ) -> None:
        self.config = config
        self.backend: Backend | None = None
        label = getattr(backend, "name", backend)
        recorded = {"ledger": ledger, "budget": budget, "fallback": fallback}
        given = [key for key, value in recorded.items() if value is not None]
        if isinstance(backend, str) and backend == "statevector":
            if given and self.runs_on != "circuits":
                where = "backend=dwave is" if self.runs_on else "a solver of circuits or anneals is"
                raise ProblemError(
                    f"{given[0]}: solver={self.name} runs here and has no jobs to record; {where} accepted"
                )
            if not given:
                return
        from hybrid_opt.backends import open_backend  # vendor libraries are slow to import
        from hybrid_opt.circuits.loading import load_qiskit

        if not self.runs_on:
            raise ProblemError(f"backend={label}: {self.name} runs on no backend; statevector is accepted")
        self.backend = open_backend(backend, ledger=ledger, budget=budget, fallback=fallback)
        if not getattr(self.backend.capabilities, self.runs_on):
            self.backend.close()
            raise ProblemError(f"backend={label}: runs no {self.runs_on}, which solver={self.name} needs")
        if self.runs_on == "circuits":
            load_qiskit()  # before threads do

    @property
    def remote(self) -> bool:
        """Whether its work is done elsewhere."""
        return self.backend is not None and self.backend.capabilities.remote

    def submit(self, qubos: Qubo | Sequence[Qubo], seed: int = 0) -> Job[Any]:
        """Start solving one Qubo (the job's result is a Solution) or a batch (a list of Solutions). Does not wait.

        Raises ProblemError for a problem that this solver cannot take.
        """
        one = isinstance(qubos, Qubo)
        batch: list[Qubo] = [qubos] if isinstance(qubos, Qubo) else list(qubos)
        for qubo in batch:
            self.check(qubo)
        key = uuid.uuid4().hex

        def work(stop: Event) -> Any:
            begin = time.perf_counter()
            solutions = self._solve(batch, seed, key, stop)
            share = (time.perf_counter() - begin) / max(1, len(batch))
            solutions = [_timed(solution, share) for solution in solutions]
            return solutions[0] if one else solutions

        def cancel() -> None:
            stop_all = getattr(self.backend, "cancel", None)  # a ledger has it: what waits at a vendor's is cancelled
            if stop_all is not None:
                stop_all(key)

        return ThreadJob(key, work, cancel)

    def solve(self, qubo: Qubo, seed: int = 0) -> Solution:
        """Solve one Qubo and wait for it."""
        solution: Solution = self.submit(qubo, seed).result()
        return solution

    def check(self, qubo: Qubo) -> None:  # noqa: B027 - most solvers take any problem
        """Raise ProblemError where this solver cannot take the problem."""

    def metrics(self) -> dict[str, float]:
        """Figures of what it has learned from its problems; empty for those that do not learn."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What it has learned from its problems. Leaves are tensors or Python scalars."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - most solvers learn nothing
        """Continue from such a state."""

    def close(self) -> None:
        """Release what the solver opened."""
        if self.backend is not None:
            self.backend.close()

    @abstractmethod
    def _solve(self, qubos: Sequence[Qubo], seed: int, key: str, stop: Event) -> list[Solution]:
        """Solve a batch. `key` names the job; `stop` is set when it is cancelled, to be looked at between steps."""


def _timed(solution: Solution, seconds: float) -> Solution:
    """With the wall-clock that the solver did not already put into training booked as sampling."""
    cost = solution.cost
    rest = max(0.0, seconds - cost.training.wall_seconds - cost.sampling.wall_seconds)
    return replace(solution, cost=SolverCost(cost.training, cost.sampling + Cost(wall_seconds=rest)))
