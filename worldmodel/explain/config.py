"""The configuration of an explanation."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Positive = Annotated[int, Field(ge=1)]


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class ExplainConfig:
    """An explanation of what a run's agent does, with the tests of that explanation."""

    logdir: str
    """the run's folder, where explanation.html and explanation.json go; the run may be training meanwhile"""
    checkpoint: str = "latest"
    """latest, best (of the evaluations during training), or the path of a checkpoint"""
    episodes: Positive = 5
    """episodes to play greedily; intervals are over episodes, where there are two or more"""
    states: Positive = 60
    """states that are explained, evenly spaced over all episodes"""
    orders: Annotated[int, Field(ge=2)] = 10
    """random orders that deletion and insertion are compared with"""
    draws: Annotated[int, Field(ge=2)] = 10
    """agents with re-drawn weights that explanations are compared with"""
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """of the episodes; null: those of the evaluations during training"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    threads: Literal["auto"] | Positive = "auto"
    """CPU threads; auto: OMP_NUM_THREADS or all cores, at most 8"""
