"""Readout errors: bits are read wrong."""

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.noise.noise import Noise

Chance = Annotated[float, Field(ge=0, le=0.5)]


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class ReadoutConfig:
    """Gates are exact, and bits are flipped when they are read."""

    p: Chance = 0.01
    """chance to read 0 as 1"""
    p10: Chance | None = None
    """chance to read 1 as 0; null: as p"""


class Readout(Noise):
    """Each qubit is misread on its own. A mean of Z becomes (1 - p - p10) <Z> + p10 - p."""

    name, Config = "readout", ReadoutConfig

    @property
    def flips(self) -> tuple[float, float]:
        return self.config.p, self.config.p if self.config.p10 is None else self.config.p10
