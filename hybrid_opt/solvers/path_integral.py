"""Simulated quantum annealing by path-integral Monte Carlo, or a backend that anneals."""

from threading import Event
from typing import Any

import numpy as np
from pydantic import ConfigDict, NonNegativeFloat
from pydantic.dataclasses import dataclass

from hybrid_opt.problem.quadratic import Bits
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.solvers.annealing import AnnealConfig, Annealing, beta_range, in_order


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class PathIntegralConfig(AnnealConfig):
    """Simulated quantum annealing by path-integral Monte Carlo, or a backend that anneals.

    Both ranges have linear steps.
    """

    field_range: tuple[NonNegativeFloat, NonNegativeFloat] = (3.0, 0.0)
    """first and last transverse field, times the inverse temperature"""


class PathIntegral(Annealing):
    """Sweeps over world lines in continuous imaginary time (dwave-samplers), while the transverse field is turned off.

    With constant ranges (b, b) and (g, g) and enough sweeps its samples follow the diagonal of
    exp(-b C + g sum X) / Z. Constraints become penalties, so samples may be infeasible. An evaluation is a world line
    that was updated.
    """

    name = "path_integral"
    Config = PathIntegralConfig

    def _anneal(self, qubo: Qubo, rng: np.random.Generator, stop: Event) -> tuple[Bits, int]:
        from dwave.samplers import PathIntegralAnnealingSampler

        qubo = self._penalised(qubo)
        sampler: Any = PathIntegralAnnealingSampler  # dwave-samplers is typed in part
        inverse, field = self.config.beta_range or beta_range(qubo), self.config.field_range
        sampleset = sampler().sample(
            qubo.to_bqm(),
            beta_schedule_type="custom",
            Hp_field=np.linspace(inverse[0], inverse[1], self.config.sweeps),
            Hd_field=np.linspace(field[0], field[1], self.config.sweeps),
            num_reads=self.config.reads,
            seed=int(rng.integers(1 << 31)),
            interrupt_function=stop.is_set,
        )
        return in_order(sampleset, qubo), self.config.reads * self.config.sweeps * qubo.n
