"""One program or a list of them: what a backend runs as one job."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybrid_opt.backends.backend import Program, Programs, Result, Results
from hybrid_opt.cost import Cost
from hybrid_opt.errors import ProblemError
from hybrid_opt.job import Job


@dataclass(frozen=True)
class Request:
    """The programs of one job, each with its seed. listed: whether they were given as a list, which may be of one."""

    programs: tuple[Program, ...]
    seeds: tuple[int, ...]
    listed: bool

    @classmethod
    def of(cls, programs: Programs, seed: int) -> "Request":
        """Give one program the seed itself, and program i of a list `spawn(seed, i)`: copies in a list are independent.

        Raises ProblemError for an empty list.
        """
        several = as_list(programs)
        if not isinstance(programs, Sequence):
            return cls(several, (seed,), False)
        check_seed(seed)
        return cls(several, tuple(spawn(seed, index) for index in range(len(several))), True)

    def given(self, results: Sequence[Result]) -> Any:
        """Return what was asked for: the result of one program, or a tuple of those of a list."""
        return tuple(results) if self.listed else results[0]


class RunsLists(ABC):
    """Base of backends that are written for lists alone."""

    def estimate(self, programs: Programs) -> Cost:
        """See Backend."""
        return self._estimate(as_list(programs))

    def submit(self, programs: Programs, key: str, seed: int = 0) -> Job[Any]:
        """See Backend."""
        return self._submit(Request.of(programs, seed), key)

    @abstractmethod
    def _estimate(self, programs: Sequence[Program]) -> Cost:
        """What they would cost together. Raises ProblemError where one of them cannot run here."""

    @abstractmethod
    def _submit(self, request: Request, key: str) -> Job[Any]:
        """Send all of them as one job, whose result is `request.given` of theirs."""


def as_list(programs: Programs) -> tuple[Program, ...]:
    """The programs of a list, or the one program. Raises ProblemError for an empty list."""
    if not isinstance(programs, Sequence):
        return (programs,)
    if not programs:
        raise ProblemError("programs: none given; one or more are accepted")
    return tuple(programs)


def each(results: Results, change: Callable[[Result], Result]) -> Results:
    """Change one result, or all of a list."""
    return tuple(map(change, results)) if isinstance(results, tuple) else change(results)


def total(results: Results) -> Cost:
    """What one result, or all of a list, did cost."""
    return sum((result.cost for result in results), Cost()) if isinstance(results, tuple) else results.cost


def spawn(seed: int, index: int) -> int:
    """An independent seed, positive and below 2^31, for part `index` of what `seed` stands for."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0] >> 1) | 1


def check_seed(seed: Any) -> None:
    """Raise ProblemError unless it is an integer >= 0."""
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ProblemError(f"seed={seed}: an integer >= 0 is accepted")
