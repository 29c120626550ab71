"""Budgets: the most that may be spent, in shots, seconds of the processor, and dollars."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from hybrid_opt.cost import Cost
from hybrid_opt.errors import ProblemError
from hybrid_opt.reals import real

UNITS = ("shots", "seconds", "dollars")


def limits_of(budget: Any) -> dict[str, float]:
    """The limits, by unit, of a mapping, or of a Cost, whose zeros are no limits. Raises ProblemError."""
    if isinstance(budget, Cost):
        return {unit: amount for unit, amount in zip(UNITS, amounts(budget), strict=True) if amount > 0}
    if not isinstance(budget, Mapping):
        raise ProblemError(f"budget={budget!r}: a mapping of {', '.join(UNITS)} is accepted")
    limits: dict[str, float] = {}
    for unit, most in budget.items():
        if unit not in UNITS:
            raise ProblemError(f"budget.{unit}: no such unit; {', '.join(UNITS)} are accepted")
        if most is not None:
            number = isinstance(most, Real) and not isinstance(most, bool | np.bool_)
            if not number or not (limit := real(most, f"budget.{unit}")) >= 0:
                raise ProblemError(f"budget.{unit}={most!r}: a number from 0 is accepted")
            limits[unit] = limit
    return limits


def amounts(cost: Cost) -> tuple[int, float, float]:
    """What a cost is in the units of budgets."""
    return cost.shots, cost.qpu_seconds, cost.dollars
