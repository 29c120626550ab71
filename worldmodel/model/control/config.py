"""The section `control`: how the agent for continuous control learns."""

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Scale = Annotated[float, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class ControlConfig:
    """How the agent `control` learns."""

    noise: Scale = 0.2
    """standard deviation of the noise on actions while it explores"""
    random: Annotated[float, Field(ge=0, le=1)] = 0.1
    """share of discrete actions that are random while it explores"""
    hold: Annotated[float, Field(ge=1)] = 16.0
    """steps, on average, that an action is held while actions are random, before the first update"""
    target_noise: Scale = 0.2
    """of the noise on actions in the critics' targets, clamped to 1.5 times this"""
    returns: Positive = 3
    """replayed rewards in the critics' targets, before they bootstrap; less than batch_length"""
    period: Positive = 250
    """updates after which the slow networks become the fast ones"""
    critics: Annotated[int, Field(ge=1, le=10)] = 2
    """critics, whose least value is the target"""
    pre_activation: Scale = 1e-5
    """weight of the squared actions before their tanh"""
