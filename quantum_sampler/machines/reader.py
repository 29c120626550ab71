"""Samples of Ising problems at a constant temperature: path-integral Monte Carlo here, or a backend that anneals."""

from typing import Any

import numpy as np

from hybrid_opt.errors import TransientError
from hybrid_opt.problem.quadratic import Bits
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.solvers import make_solver
from hybrid_opt.solvers.annealing import in_order


class PathIntegralReader:
    """Path-integral Monte Carlo of exp(-C + gamma sum X) by dwave-samplers: reads of its diagonal.

    Each read is a world line of its own, `sweeps` sweeps from where the last reads ended, which have to be given:
    persistent chains, whose world lines start without kinks. Without them, ten times the sweeps from a random start.
    """

    annealer = False
    remote = False

    def __init__(self, gamma: float, reads: int, sweeps: int = 10) -> None:
        self._gamma, self._count, self._sweeps = gamma, reads, sweeps

    def read(self, qubo: Qubo, seed: int, start: Bits | None = None) -> Bits:
        """Samples uint8 [reads, units], from bits [reads, units]."""
        from dwave.samplers import PathIntegralAnnealingSampler

        sampler: Any = PathIntegralAnnealingSampler  # dwave-samplers is typed in part
        sweeps = self._sweeps if start is not None else 10 * self._sweeps
        sampleset = sampler().sample(
            qubo.to_bqm(),
            beta_schedule_type="custom",
            Hp_field=np.ones(sweeps),
            Hd_field=np.full(sweeps, self._gamma),
            num_reads=self._count,
            seed=seed,
            initial_states=None if start is None else (start.astype(np.int8), list(qubo.labels)),
        )
        return in_order(sampleset, qubo)

    def close(self) -> None:
        """Nothing is open."""


class AnnealerReader:
    """Raw reads of a backend that anneals, at a temperature that nobody knows.

    Raises ProblemError for a backend that does not anneal; `read` raises BackendError where it fails,
    TransientError where it gives no answer in time.
    """

    annealer = True

    def __init__(self, backend: Any, reads: int) -> None:
        self._solver = make_solver("annealing", backend=backend, reads=reads)
        self.remote = self._solver.remote

    def read(self, qubo: Qubo, seed: int, start: Bits | None = None) -> Bits:
        """Samples uint8 [reads, units] of one call; an annealer starts on its own."""
        try:
            return self._solver.solve(qubo, seed).samples
        except TimeoutError as error:
            raise TransientError(str(error)) from error

    def close(self) -> None:
        """Release the backend."""
        self._solver.close()
