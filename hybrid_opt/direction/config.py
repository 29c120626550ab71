"""The options of HybridOptimizer, and what it counts."""

from collections.abc import Mapping
from dataclasses import dataclass as plain
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt, field_validator
from pydantic.dataclasses import dataclass

from hybrid_opt.parts import checked as checked_options

MoveName = Literal["skip", "half", "base", "double", "momentum", "last"]
MOVES: tuple[MoveName, ...] = get_args(MoveName)


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False))
class EscapeConfig:
    """Jumps out of flat or trapped places."""

    patience: PositiveInt | None = 1000
    """updates without a better loss after which a jump is looked for, null for never"""
    solver: Any = "path_integral"
    """of escapes: path_integral, vqe, qaoa or any other, by name or by
    'optimizer.escape.solver={name:qaoa,layers:2}'"""
    blocks: PositiveInt = 4
    """parts of the parameters that jump on their own"""
    directions: PositiveInt = 2
    """of each, from the way that training went"""
    multiples: Annotated[tuple[float, ...], Field(min_length=1)] = (-1.0, 2.0)
    """of a direction's length, one bit each"""
    length: PositiveFloat = 0.1
    """of a direction, in units of the next key"""
    unit: Literal["norm", "travel", "absolute"] = "norm"
    """norm of a block's parameters, travel (how far it went), or absolute"""
    tries: PositiveInt = 4
    """best samples whose true loss is looked at"""
    tolerance: Annotated[float, Field(ge=0)] = 1e-3
    """relative change of the loss that counts as better"""


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True), kw_only=True)
class DirectionConfig:
    """Choices among moves of blocks of parameters.

    every: infinite is null. slowest: twice as many after every choice that brought nothing; it shrinks again after
    others. overhead: null is no limit, which repeats to the bit.
    """

    every: PositiveInt | None = 128
    """updates between choices, null for none"""
    slowest: PositiveInt = 8
    """how many times as many there may be after choices that brought nothing"""
    overhead: PositiveFloat | None = None
    """most of the wall-clock that choosing may take, as a share of the rest; not kept to where deterministic"""
    blocks: PositiveInt = 4
    """parts of the world model's parameters, each of which takes a move of its own"""
    moves: tuple[MoveName, ...] = MOVES
    """what a block may take: the base step times 0, 1/2, 1 or 2, the mean step since the last choice, the last accepted
    move"""
    model: Literal["losses", "curvature"] = "losses"
    """of the loss: losses (at trial points, in pairs) or curvature (from gradients)"""
    chunk: PositiveInt = 1
    """trial points evaluated at once"""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.1
    """least ratio of the actual to the predicted gain at which a choice is taken"""
    trust: PositiveFloat = 1.0
    """length of the moves beyond the base step at first, in base steps"""
    max_trust: PositiveFloat = 8.0
    """their greatest length"""
    max_age: PositiveInt = 256
    """updates after which the answer of a remote backend is dropped"""
    wait: bool | None = None
    """for answers: true or false; null: unless the backend is remote"""
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
