"""Batches by the solvers of Qubos: simulated and path-integral annealing, QAOA, and the backends behind them."""

from collections.abc import Mapping, Sequence
from threading import Event
from typing import Any, Literal

import numpy as np

from hybrid_opt import ProblemError, Qubo, Solution, make_solver
from quantum_sampler.batches.engine import Reads
from quantum_sampler.batches.law import BatchLaw
from quantum_sampler.batches.repair import repaired
from quantum_sampler.selector import OptionError

SLICE = 0.05  # seconds between two looks at whether the planning was given up
PENALTY = 1.0  # of (sum(x) - k)^2 beside -log P, whose chemical potential is balanced; see ThroughSolver
DEVICE_PENALTY = 0.02  # there: a stronger one couples everything, breaks chains and drowns the law, and sizes go astray

Infeasible = Literal["auto", "drop", "repair"]


class ThroughSolver:
    """Batches are the samples of a solver for -log P, the size of the batch as cardinality.

    Where the solver keeps the cardinality (annealing with constraints=moves, QAOA), all of its samples are batches.
    Otherwise it is a penalty, weak unless `options` say so, because a sampler that crosses it easily mixes well.
    Samples of another size can be dropped: if the sampler is in equilibrium at inverse temperature 1, what is left
    follows the law exactly, at any penalty. Or they are repaired, a classical post-processing: members are left out or
    added at random by the law's own conditional odds, see `repaired`, which says more about the batches the more
    samples it has to change. Both are counted. Either way the inclusion of the batches is exact, as it is counted of
    the reads as they are in the end; see `drawn`. infeasible: drop or repair; auto drops here and repairs on a backend.

    annealing: ends at inverse temperature 1 by default, so it samples. path_integral: the transverse field is turned
    off along the way; with a constant one the samples are those of the quantum Gibbs state. qaoa: its law is that of
    the circuit, not the batch law. On a backend that anneals, the device's own temperature holds.
    """

    def __init__(
        self,
        name: str,
        reads: int,
        sweeps: int,
        options: Mapping[str, Any],
        infeasible: Infeasible = "auto",
        backend: Any = "statevector",
    ) -> None:
        here = backend == "statevector"
        defaults: dict[str, Any] = {"shots": reads} if name == "qaoa" else {"reads": reads}
        if name != "qaoa" and not here:
            defaults |= {"penalty": DEVICE_PENALTY}
        elif name != "qaoa":
            defaults |= {"sweeps": sweeps}
            if name == "path_integral":
                defaults |= {"beta_range": (1.0, 1.0), "field_range": (1.0, 0.0)}
            else:
                defaults |= {"beta_range": (0.1, 1.0), "constraints": "penalties"}
            if {**defaults, **options}.get("constraints") != "moves":
                defaults |= {"penalty": PENALTY}
        try:
            self._solver = make_solver(name, **{**defaults, **options}, backend=backend)
        except ProblemError as error:
            raise OptionError(f"replay.engine={name}: {error}") from error
        self._repairs = infeasible == "repair" or (infeasible == "auto" and not here)
        self._samples, self._wrong, self._short = 0, 0, 0

    def check(self, pool: int, size: int) -> None:
        backend = self._solver.backend
        if backend is not None and backend.limits.qubits is not None and pool > backend.limits.qubits:
            most = backend.limits.qubits
            raise OptionError(f"replay.pool={pool}: {backend.name} takes pools of up to {most} items")
        try:
            self._solver.check(Qubo(np.zeros((pool, pool)), cardinality=size))
        except ProblemError as error:
            raise OptionError(f"replay.pool={pool}, batches of {size}: {error}") from error

    def draw(self, laws: Sequence[BatchLaw], batches: int, rng: np.random.Generator, stop: Event) -> list[Reads]:
        job = self._solver.submit([law.qubo for law in laws], seed=int(rng.integers(1 << 31)))
        while True:
            try:
                solutions: list[Solution] = job.result(SLICE)
                break
            except TimeoutError:
                if job.done():
                    raise
                if stop.is_set():
                    job.cancel()
                    return []
        return [self._reads(law, solution, rng) for law, solution in zip(laws, solutions, strict=True)]

    def metrics(self) -> dict[str, float]:
        """infeasible: the share of samples of another size than the batch's; without_reads: pools with no others;
        repaired: how many samples were made batches; and those of a solver that learns."""
        figures = {"infeasible": self._wrong / max(1, self._samples), "without_reads": self._short}
        figures |= self._solver.metrics()
        return {**figures, "repaired": self._wrong} if self._repairs else figures

    def state_dict(self) -> dict[str, Any]:
        return {**self._solver.state_dict(), "counts": [self._samples, self._wrong, self._short]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        learned = dict(state)
        self._samples, self._wrong, self._short = learned.pop("counts", (0, 0, 0))  # earlier states had none
        self._solver.load_state_dict(learned)

    def close(self) -> None:
        self._solver.close()

    def _reads(self, law: BatchLaw, solution: Solution, rng: np.random.Generator) -> Reads:
        self._samples += solution.feasible.size
        self._wrong += int(np.count_nonzero(~solution.feasible))
        kept = solution.samples if self._repairs else solution.samples[solution.feasible]
        self._short += not len(kept)
        return Reads(repaired(law, kept, rng))
