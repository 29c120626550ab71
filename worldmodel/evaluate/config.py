"""The configuration of an evaluation."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Positive = Annotated[int, Field(ge=1)]


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class EvaluateConfig:
    """An evaluation of a run's agent."""

    logdir: str
    """the run's folder; the run may be training meanwhile"""
    checkpoint: str = "latest"
    """latest, best (of the evaluations during training), or the path of a checkpoint"""
    episodes: Positive = 20
    """episodes to play"""
    video: str | None = None
    """an .mp4 or .gif file to write, of one more episode"""
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """of the episodes; null: those of the evaluations during training"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    threads: Literal["auto"] | Positive = "auto"
    """CPU threads; auto: OMP_NUM_THREADS or all cores, at most 8"""
