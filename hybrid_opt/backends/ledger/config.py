"""How jobs of a ledger are handled."""

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class LedgerConfig:
    """How jobs of a ledger are handled.

    resume: a request that a process which is gone has already made is answered by that job: the unfinished ones, those
    that nobody collected, and, where that process was killed, all of them, once each. cache: also answer by any
    finished job of an identical request. keep: the most bytes of a result that is kept in the file. tries: failures in
    a row after which a job is given up. looks: times that a job is looked for in vain before it is sent again. pause,
    longest_pause: seconds of the exponential backoff with full jitter. timeout: seconds until a job that was sent is
    stopped. patience: seconds to wait for a cancellation to be confirmed. workers: jobs under way at a time.
    """

    resume: bool = True
    cache: bool = False
    keep: Annotated[int, Field(ge=0)] = 1 << 24
    tries: Annotated[int, Field(ge=1)] = 12
    looks: Annotated[int, Field(ge=1)] = 3
    pause: Annotated[float, Field(ge=0)] = 0.5
    longest_pause: Annotated[float, Field(ge=0)] = 60.0
    timeout: Annotated[float, Field(gt=0)] | None = None
    patience: Annotated[float, Field(gt=0)] = 10.0
    workers: Annotated[int, Field(ge=1)] = 8
