"""Angle schedules of QAOA: angles(qubo, layers, evaluate=None, budget=0) -> (gammas, betas), float64 [layers] each.

Gammas are those of the standardised cost. evaluate(gammas, betas) -> float is to be minimised, and may be called
`budget` times; schedules without optimisation do not.
"""

from typing import Literal, Protocol

from hybrid_opt.circuits.schedules import learned as policies
from hybrid_opt.circuits.schedules.optimised import optimised
from hybrid_opt.circuits.schedules.table import Angles, Evaluate, fixed, ramp, transferred
from hybrid_opt.problem.qubo import Qubo

ScheduleName = Literal["fixed", "ramp", "transferred", "optimised", "learned"]


class Schedule(Protocol):
    """Angles for a Qubo."""

    def __call__(self, qubo: Qubo, layers: int, evaluate: Evaluate | None = None, budget: int = 0) -> Angles: ...


def learned(qubo: Qubo, layers: int, evaluate: Evaluate | None = None, budget: int = 0) -> Angles:
    """Angles of the trained policy that is shipped; `hybrid_opt.circuits.schedules.learned` takes others."""
    return policies.learned()(qubo, layers, evaluate, budget)


SCHEDULES: dict[str, Schedule] = {
    "fixed": fixed,
    "ramp": ramp,
    "transferred": transferred,
    "optimised": optimised,
    "learned": learned,
}
