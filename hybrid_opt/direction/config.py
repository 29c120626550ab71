"""The options of HybridOptimizer, and what it counts."""

from collections.abc import Mapping
from dataclasses import dataclass as plain
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt, field_validator
from pydantic.dataclasses import dataclass

from hybrid_opt.direction.escape import EscapeConfig
from hybrid_opt.direction.moves import MOVES, MoveName
from hybrid_opt.parts import checked as checked_options


@dataclass(config=ConfigDict(extra="forbid", frozen=True), kw_only=True)
class DirectionConfig:
    """every: steps between choices; null or infinite: none. slowest: how many times that it may grow to, twice after
    every choice that brought nothing; it shrinks again after others. overhead: most share of the wall-clock that
    choosing may take, beside the base's; null: no limit, which repeats to the bit. blocks: of parameters, each of which
    takes a move of its own. moves: that it may take. model: of the loss, from losses at trial points or from
    curvature. chunk: trial points evaluated at once. threshold: least ratio of actual to predicted gain. trust: length
    of the moves beyond the base step, at first and at most. max_age: steps after which the answer of a remote backend
    is dropped. wait: for answers; null: unless the backend is remote. escape: options of `EscapeConfig`, or null.
    """

    every: PositiveInt | None = 128
    slowest: PositiveInt = 8
    overhead: PositiveFloat | None = None
    blocks: PositiveInt = 4
    moves: tuple[MoveName, ...] = MOVES
    model: Literal["losses", "curvature"] = "losses"
    chunk: PositiveInt = 1
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.1
    trust: PositiveFloat = 1.0
    max_trust: PositiveFloat = 8.0
    max_age: PositiveInt = 256
    wait: bool | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    escape: EscapeConfig | None = None

    @field_validator("every", mode="before")
    @classmethod
    def _infinite(cls, value: Any) -> Any:
        return None if value == float("inf") else value

    @field_validator("moves")
    @classmethod
    def _has_base(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "base" not in value or len(set(value)) != len(value) or len(value) < 2:
            raise ValueError(f"{list(value)}: base and different others of {', '.join(MOVES)} are accepted")
        return value


@plain
class Counts:
    """What happened so far. choices: problems solved; each is accepted, rejected (the ratio was too small), the base
    step itself (kept), or infeasible. raised: accepted moves that raised the loss. dropped: answers that came too late.
    undefined: the loss was not finite. equivalents: of gradients, three losses being one.
    """

    steps: int = 0
    asked: int = 0
    choices: int = 0
    accepted: int = 0
    rejected: int = 0
    kept: int = 0
    infeasible: int = 0
    raised: int = 0
    dropped: int = 0
    failures: int = 0
    undefined: int = 0
    equivalents: float = 0.0
    predicted_gain: float = 0.0
    actual_gain: float = 0.0
    shots: int = 0
    circuits: int = 0
    evaluations: int = 0
    queries: int = 0
    qpu_seconds: float = 0.0
    dollars: float = 0.0


def checked(options: Mapping[str, Any]) -> DirectionConfig:
    """The config of these options. Raises ProblemError, with the key, for what is not accepted."""
    made: DirectionConfig = checked_options(DirectionConfig, options, "optimizer", "of hybrid")
    return made
