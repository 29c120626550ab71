"""Search spaces: which keys of training are searched, and over what. The YAML of configs/space, as Optuna reads it."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic.dataclasses import dataclass
from typing_extensions import TypeAliasType

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Value = bool | int | float | str | None
_strict = ConfigDict(extra="forbid", frozen=True)


@dataclass(config=_strict)
class Float:
    """A number between `low` and `high`, both included; uniform in its logarithm, or in steps."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False
    step: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_range(self.low, self.high, self.log, self.step)
        return self

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, self.log, self.step)

    def corners(self) -> list[Value]:
        """Values that must be accepted where all others are."""
        return [self.low, self.high]


@dataclass(config=_strict)
class Int:
    """A whole number between `low` and `high`, both included; uniform in its logarithm, or in steps."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False
    step: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_range(self.low, self.high, self.log, self.step if self.step > 1 else None)
        return self

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, self.log, self.step)

    def corners(self) -> list[Value]:
        """Values that must be accepted where all others are."""
        return [self.low, self.high]


@dataclass(config=_strict)
class Categorical:
    """One of several values, which have no order."""

    type: Literal["categorical"]
    choices: tuple[Value, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.choices:
            raise ValueError("choices must have a value at least")
        if len({repr(choice) for choice in self.choices}) < len(self.choices):
            raise ValueError("choices must differ from one another")
        return self

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.choices)

    def corners(self) -> list[Value]:
        """Values that must be accepted where all others are."""
        return list(self.choices)


def _check_range(low: float, high: float, log: bool, step: float | None) -> None:
    """Raise ValueError."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"low={low} and high={high} must be finite")
    if low > high:
        raise ValueError(f"low={low} is above high={high}; low <= high is accepted")
    if log and low <= 0:
        raise ValueError(f"low={low} with log=true: more than 0 is accepted")
    if log and step is not None:
        raise ValueError(f"step={step} with log=true: one of the two is accepted")


Parameter = Float | Int | Categorical


def _kind(value: Any) -> str | None:
    """Which of the kinds of Node a value is."""
    if isinstance(value, Parameter):
        return value.type
    if not isinstance(value, Mapping):
        return None
    kind = value.get("type", "section" if all(isinstance(inner, Mapping) for inner in value.values()) else None)
    return kind if isinstance(kind, str) else None


if TYPE_CHECKING:
    Node = Any  # a Parameter, or a dict of Nodes; mypy knows no recursive alias
else:
    Node = TypeAliasType(
        "Node",
        Annotated[
            Annotated[Float, Tag("float")]
            | Annotated[Int, Tag("int")]
            | Annotated[Categorical, Tag("categorical")]
            | Annotated[dict[str, "Node"], Tag("section")],
            Discriminator(
                _kind,
                custom_error_type="parameter",
                custom_error_message=(
                    "must have a type, float, int or categorical, such as {type:float,low:1e-4,high:1e-2,log:true}, "
                    "{type:int,low:1,high:8} or {type:categorical,choices:[1,2]}"
                ),
            ),
        ],
    )

Section = dict[str, Node]


def parameters(section: Mapping[str, Any], prefix: str = "") -> dict[str, Parameter]:
    """The parameters of a space by the keys of training that they set: `optimizer.lr` and so on."""
    found: dict[str, Parameter] = {}
    for name, node in section.items():
        key = f"{prefix}{name}"
        found |= parameters(node, f"{key}.") if isinstance(node, Mapping) else {key: node}
    return found


def plain(found: Mapping[str, Parameter]) -> dict[str, dict[str, Any]]:
    """Parameters as plain values, such as JSON takes."""
    return {key: asdict(parameter) for key, parameter in found.items()}
