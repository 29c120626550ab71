"""Widths of the model."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Positive = Annotated[int, Field(ge=1)]


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True), kw_only=True)
class ModelSize:
    """Widths of every network; the presets 1m..400m are the group `size`."""

    deter: Positive
    """width of the recurrent state, a multiple of blocks"""
    hidden: Positive
    """width of the recurrent model's hidden layers"""
    stoch: Positive = 32
    """categorical latents"""
    classes: Annotated[int, Field(ge=2, le=256)]  # the replay keeps a class in a byte
    """classes of each latent"""
    blocks: Positive = 8
    """blocks of the recurrent layer"""
    units: Positive
    """width of encoder, decoder and heads"""
    depth: Positive
    """channels of the CNN, in multiples of 2, 3, 4, 4 from layer to layer"""
    fan_in: Literal["all", "block"] = "block"  # as earlier runs, which have no such key, were initialised
    """inputs that set the scale of initial block-diagonal weights: all, as in DreamerV3, or block, those of one
    block"""

    def block_fan_in(self, inputs: int) -> int:
        """The fan-in that sets the scale of a block-diagonal layer's initial weights: `inputs` are one block's."""
        return inputs * self.blocks if self.fan_in == "all" else inputs

    @property
    def feature(self) -> int:
        """Width of the model state as the heads see it: deter and the flattened one-hot latents."""
        return self.deter + self.stoch * self.classes
