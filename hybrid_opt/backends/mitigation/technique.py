"""The contract of techniques: a program becomes several, whose results become one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.backends.backend import CircuitProgram, Result
from hybrid_opt.errors import ProblemError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Expansion:
    """What a program became.

    programs: those that run. combine: makes one result of theirs, in this order; the same results give the same.
    about: what the user is told beside.
    """

    programs: tuple[CircuitProgram, ...]
    combine: Callable[[Sequence[Result]], Result]
    about: Mapping[str, Any] = field(default_factory=dict)


class Technique(ABC):
    """A technique of error mitigation: one file, with a frozen dataclass of options as its `Config`.

    Techniques stand in the order of `rank`, the one with the lowest next to the device; two of one rank exclude each
    other. The shots of what a program becomes sum to its own: calibration is paid from them. A program that needs fewer
    parts than it has shots is a ProblemError.

    rank: twirling 0, readout 1, pec, zne and virtual 2, learned 3. modelled: whether it needs a model of the noise.
    """

    rank: ClassVar[int]
    name: ClassVar[str]

    @abstractmethod
    def expand(self, program: CircuitProgram, seed: int) -> Expansion:
        """Return what a program becomes, and how its results are combined. Raises ProblemError.

        The same program and seed become the same, also in another process.
        """

    def error(self, message: str) -> ProblemError:
        """An error of this technique, in one line."""
        return ProblemError(f"mitigation={self.name}: {message}")

    def shared(self, shots: int, weights: Floats) -> list[int]:
        """Divide shots in proportion to weights, at least one each. Raises ProblemError where there are too few."""
        if shots < len(weights):
            raise self.error(
                f"shots={shots}: fewer than the {len(weights)} circuits; {len(weights)} or more are needed"
            )
        exact = 1 + (shots - len(weights)) * weights / weights.sum()
        parts = np.floor(exact).astype(int)
        for index in np.argsort(parts - exact, kind="stable")[: shots - parts.sum()]:
            parts[index] += 1
        return [int(part) for part in parts]


def spread(program: CircuitProgram, total: int) -> list[CircuitProgram]:
    """Divide `total` shots among the parameter sets of a program: one program, or two, the first with a shot more."""
    each, more = divmod(total, len(program.parameters))
    parts = [(program.parameters[:more], each + 1), (program.parameters[more:], each)]
    return [replace(program, parameters=rows, shots=shots) for rows, shots in parts if len(rows)]


def weighted(means: Sequence[Floats], errors: Sequence[Floats], weights: Sequence[float]) -> tuple[Floats, Floats]:
    """Sum means with weights; independent errors add in squares."""
    total = sum((weight * mean for weight, mean in zip(weights, means, strict=True)), np.zeros_like(means[0]))
    square = sum((weight**2 * error**2 for weight, error in zip(weights, errors, strict=True)), np.zeros_like(total))
    return total, np.sqrt(square)


def values(result: Result) -> tuple[Floats, Floats]:
    """Means and errors [P, m] of a result; without errors they are exact."""
    assert result.means is not None
    return result.means, np.zeros_like(result.means) if result.errors is None else result.errors
