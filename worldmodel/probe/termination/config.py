"""The configuration of the probe of terminations."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Positive = Annotated[int, Field(ge=1)]


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True), kw_only=True)
class ProbeTerminationConfig:
    """What is classified, on how many states."""

    logdir: str
    """the run's folder, where termination.json goes; the run may be training meanwhile"""
    policy: Literal["random", "agent"] = "random"
    """whose episodes are played: random, or agent: the run's, greedily"""
    checkpoint: str = "latest"
    """of the agent: latest, best, or the path of one"""
    within: Positive = 5
    """steps: a state is positive if its episode ends in no more than these"""
    train: Annotated[int, Field(ge=20)] = 300
    """states that a machine learns from"""
    validate: Annotated[int, Field(ge=20)] = 300
    """states by which bandwidth and cost are chosen, for every kernel alike"""
    test: Annotated[int, Field(ge=20)] = 1500
    """states that are told"""
    splits: Annotated[int, Field(ge=1)] = 8
    """draws of all of these"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of the episodes and the splits"""
    device: str = "auto"
    """of the agent: auto, cpu, cuda or cuda:N"""
