"""Widths of the model."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Positive = Annotated[int, Field(ge=1)]


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class ModelSize:
    """Widths of every network; the presets 1m..400m are the group `size`."""

    deter: Positive
    hidden: Positive
    classes: Annotated[int, Field(ge=2, le=256)]  # the replay keeps a class in a byte
    units: Positive
    depth: Positive
    stoch: Positive = 32
    blocks: Positive = 8
    fan_in: Literal["all", "block"] = "block"  # as earlier runs, which have no such key, were initialised

    def block_fan_in(self, inputs: int) -> int:
        """The fan-in that sets the scale of a block-diagonal layer's initial weights: `inputs` are one block's."""
        return inputs * self.blocks if self.fan_in == "all" else inputs

    @property
    def feature(self) -> int:
        """Width of the model state as the heads see it: deter and the flattened one-hot latents."""
        return self.deter + self.stoch * self.classes
