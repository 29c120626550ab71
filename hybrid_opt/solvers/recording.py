"""A solver that keeps the problems it was asked: surrogates and update directions, to tune circuits on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any

from hybrid_opt.job import Job
from hybrid_opt.problem.file import check_path, save_problems
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.solvers.solver import Solution, Solver


class Recording(Solver):
    """Another solver; `close` writes up to `most` of the problems that it was asked to `path`.

    solver = Recording(make_solver("exact"), "problems.npz")
    QuboSampler(solver=solver), or HybridOptimizer(..., solver=solver), works on; then solver.close().
    """

    def __init__(self, solver: Solver, path: str | Path, most: int = 1000) -> None:
        super().__init__(solver.config)
        self.solver, self.path, self.most = solver, check_path(path), most  # a late refusal would lose the problems
        self.backend = solver.backend
        self.problems: list[Qubo] = []

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of the other solver."""
        return self.solver.name

    def check(self, qubo: Qubo) -> None:
        """Raise ProblemError where the other solver cannot take the problem."""
        self.solver.check(qubo)

    def submit(self, qubos: Qubo | Sequence[Qubo], seed: int | None = 0) -> Job[Any]:
        """Note the problems and pass them on."""
        job = self.solver.submit(qubos, seed)  # refuses what is no problem
        batch = [qubos] if isinstance(qubos, Qubo) else list(qubos)
        self.problems += batch[: self.most - len(self.problems)]
        return job

    def metrics(self) -> dict[str, float]:
        """Those of the other solver."""
        return self.solver.metrics()

    def state_dict(self) -> dict[str, Any]:
        """That of the other solver; the problems are not part of it."""
        return self.solver.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from such a state."""
        self.solver.load_state_dict(state)

    def close(self) -> None:
        """Write the problems, if there are any, and close the other solver."""
        if self.problems:
            save_problems(self.path, self.problems)
        self.solver.close()

    def _solve(self, qubos: Sequence[Qubo], seed: int, key: str, stop: Event) -> list[Solution]:
        return self.solver._solve(qubos, seed, key, stop)
