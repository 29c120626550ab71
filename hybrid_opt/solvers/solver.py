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
from hybrid_opt.backends.noise import Noise, check_one, noise_of
from hybrid_opt.cost import Cost, SolverCost
from hybrid_opt.errors import ProblemError
from hybrid_opt.job import Job, ThreadJob
from hybrid_opt.problem.quadratic import Bits
from hybrid_opt.problem.qubo import Qubo

Origin = Literal["run", "fallback", "cache"]


@dataclass(frozen=True)
class Solution:
    """What a solver found for a Qubo of n variables.

    bits: the best feasible sample, int8 [n], of 0 and 1; the best of all where none is feasible. spins: 1 - 2 bits.
    samples: every raw sample, never aggregated or repaired, int8 [S, n]. energies: float64 [S]. feasible: bool [S].
    origin: where the samples come from. angles: parameters of the circuit. trace: float64 [rows, 2], the evaluations so
    far (shots, energies or queries, whatever the solver counts) and the best energy by then.
    """

    bits: Bits
    energy: float
    samples: Bits
    energies: NDArray[np.float64]
    feasible: NDArray[np.bool_]
    cost: SolverCost
    origin: Origin = "run"
    angles: NDArray[np.float64] | None = None
    trace: NDArray[np.float64] | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(qubo: Qubo, samples: Bits, cost: SolverCost, **rest: Any) -> "Solution":
        """Evaluate samples [S, n] and pick the best feasible one."""
        samples = np.ascontiguousarray(samples, np.int8)
        clipped, feasible = qubo.clipped(), qubo.feasible(samples)
        forms = clipped.form(samples)
        best = int((np.where(feasible, forms, np.inf) if feasible.any() else forms).argmin())
        energies = forms + qubo.offset if clipped is qubo else qubo.energy(samples)
        return Solution(samples[best], float(energies[best]), samples, energies, feasible, cost, **rest)

    @property
    def spins(self) -> Bits:
        """The bits as spins s = 1 - 2x, int8 [n]."""
        return 1 - 2 * self.bits


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
        self,
        config: Any,
        *,
        backend: Any = "statevector",
        ledger: Any = None,
        budget: Any = None,
        fallback: Any = None,
        noise: Any = None,
    ) -> None:
        self.config = config
        self.backend: Backend | None = None
        self.noise: Any = None  # of all its circuits: a NoiseModel of qiskit-aer
        model = noise_of(noise)
        backend = backend if model is None else self._noisy(model, backend)
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
                self._check_options(here=True)
                return
        from hybrid_opt.backends import open_backend  # vendor libraries are slow to import
        from hybrid_opt.backends.qiskit.loading import load_qiskit

        if not self.runs_on:
            raise ProblemError(f"backend={label}: {self.name} runs on no backend; statevector is accepted")
        self._check_options(here=False)

        def check(opened: Backend) -> None:
            if not getattr(opened.capabilities, self.runs_on):
                raise ProblemError(f"backend={label}: runs no {self.runs_on}, which solver={self.name} needs")
            if model is not None and not opened.capabilities.noise:
                raise ProblemError(f"noise={model.name}: backend={label} takes none; statevector and aer are accepted")

        self.backend = open_backend(backend, ledger=ledger, budget=budget, fallback=fallback, check=check)
        if self.runs_on == "circuits":
            load_qiskit()  # before threads do
        self.noise = None if model is None else model.aer()

    def _noisy(self, model: Noise, backend: Any) -> Any:
        """The backend on which circuits have noise: Aer instead of our own simulator. Raises ProblemError."""
        if self.runs_on != "circuits":
            raise ProblemError(f"noise={model.name}: solver={self.name} has no circuits; none is accepted")
        check_one(model, backend)
        return "aer" if isinstance(backend, str) and backend == "statevector" else backend

    @property
    def remote(self) -> bool:
        """Whether its work is done elsewhere."""
        return self.backend is not None and self.backend.capabilities.remote

    def submit(self, qubos: Qubo | Sequence[Qubo], seed: int | None = 0) -> Job[Any]:
        """Start solving one Qubo (the job's result is a Solution) or a batch (a list of Solutions). Does not wait.

        seed: an integer from 0; None: another one every time. Raises ProblemError for a problem that this solver cannot
        take, and for what is no Qubo.
        """
        one = isinstance(qubos, Qubo)
        batch: list[Qubo] = [qubos] if isinstance(qubos, Qubo) else _problems(qubos)
        seed = _seed(seed)
        for qubo in batch:
            self.check(qubo)
        key = uuid.uuid4().hex

        def work(stop: Event) -> Any:
            begin = time.perf_counter()
            solutions = self._solve(batch, seed, key, stop) if batch else []
            share = (time.perf_counter() - begin) / max(1, len(batch))
            solutions = [_timed(solution, share) for solution in solutions]
            return solutions[0] if one else solutions

        def cancel() -> None:
            stop_all = getattr(self.backend, "cancel", None)  # a ledger has it: what waits at a vendor's is cancelled
            if stop_all is not None:
                stop_all(key)

        return ThreadJob(key, work, cancel)

    def solve(self, qubo: Qubo, seed: int | None = 0) -> Solution:
        """Solve one Qubo and wait for it."""
        solution: Solution = self.submit(qubo, seed).result()
        return solution

    def check(self, qubo: Qubo) -> None:  # noqa: B027 - most solvers take any problem
        """Raise ProblemError where this solver cannot take the problem."""

    def _check_options(self, here: bool) -> None:  # noqa: B027 - most solvers have none of that kind
        """Raise ProblemError for options that have no effect where it runs: right here, or on a backend."""

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

    def _asked(self, qubo: Qubo, rng: np.random.Generator) -> Qubo:
        """The problem that is searched: clipped, so that none of it is lost, and the control where `shuffle` is on."""
        return (qubo.shuffled(rng) if self.config.shuffle else qubo).clipped()

    @abstractmethod
    def _solve(self, qubos: Sequence[Qubo], seed: int, key: str, stop: Event) -> list[Solution]:
        """Solve a batch. `key` names the job; `stop` is set when it is cancelled, to be looked at between steps."""


def _timed(solution: Solution, seconds: float) -> Solution:
    """With the wall-clock that the solver did not already put into training booked as sampling."""
    cost = solution.cost
    rest = max(0.0, seconds - cost.training.wall_seconds - cost.sampling.wall_seconds)
    return replace(solution, cost=SolverCost(cost.training, cost.sampling + Cost(wall_seconds=rest)))


def _problems(given: Any) -> list[Qubo]:
    """The Qubos of a batch. Raises ProblemError for anything else, such as a matrix or another library's model."""
    batch = list(given) if isinstance(given, list | tuple) else [given]
    for each in batch:
        if not isinstance(each, Qubo):
            kind = type(each).__name__
            raise ProblemError(f"qubo: a {kind}; a Qubo is accepted, as of Qubo(matrix) or Qubo.from_bqm(model)")
    return batch


def _seed(seed: Any) -> int:
    """A seed as an int; a random one for None. Raises ProblemError."""
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ProblemError(f"seed={seed!r}: None or an integer >= 0 is accepted")
    return int(seed)
