"""What solving costs, in every unit that somebody counts."""

from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Cost:
    """The cost of a piece of work; costs are added with +.

    shots: measured or drawn bit strings. circuits: parameter sets that were run. evaluations: energies that were
    computed. queries: calls of an oracle. qpu_seconds: charged by a quantum processor. wall_seconds: on the clock.
    dollars: what the vendor bills.
    """

    shots: int = 0
    circuits: int = 0
    evaluations: int = 0
    queries: int = 0
    qpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    dollars: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(Cost)})

    def __radd__(self, other: Any) -> "Cost":
        """So that `sum` works."""
        return self if other == 0 else NotImplemented


@dataclass(frozen=True)
class SolverCost:
    """What a solution cost: finding the parameters (`training`) apart from drawing the samples (`sampling`)."""

    training: Cost = field(default_factory=Cost)
    sampling: Cost = field(default_factory=Cost)

    @property
    def total(self) -> Cost:
        """Both."""
        return self.training + self.sampling

    def __getattr__(self, name: str) -> Any:
        """shots, circuits, ... of both together."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.total, name)

    def __add__(self, other: "SolverCost") -> "SolverCost":
        return SolverCost(self.training + other.training, self.sampling + other.sampling)

    def __radd__(self, other: Any) -> "SolverCost":
        """So that `sum` works."""
        return self if other == 0 else NotImplemented
