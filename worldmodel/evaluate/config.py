"""The configuration of an evaluation."""

from dataclasses import field
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

Positive = Annotated[int, Field(ge=1)]


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class SweepConfig:
    """The agent's circuits at several noises and shots."""

    noise: tuple[Annotated[float, Field(ge=0, le=0.75)], ...] | None = None
    """errors of two-qubit gates, such as 'sweep.noise=[0,.001,.01]'; those of one-qubit gates are a tenth"""
    shots: tuple[Positive | None, ...] | None = None
    """measurements of each circuit, such as 'sweep.shots=[100,1000,null]'; null: exact means"""
    model: str | None = None
    """noise model; null: that of training, or depolarizing after training without noise"""
    control: str | None = None
    """the folder of a classical run of the same environment, whose return the circuits may fall to"""

    @property
    def asked(self) -> bool:
        """Whether there is anything to sweep."""
        return self.noise is not None or self.shots is not None

    def check(self) -> None:
        """Raise ValueError for lists that are no sweep, and for keys that have no effect."""
        for key in ("noise", "shots"):
            values = getattr(self, key)
            if values is not None and (not values or len(set(values)) < len(values)):
                raise ValueError(f"sweep.{key}={list(values)}: a list of different values is accepted")
        for key in ("model", "control"):
            if getattr(self, key) is not None and not self.asked:
                raise ValueError(f"sweep.{key}={getattr(self, key)}: is accepted with sweep.noise or sweep.shots")


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
    sweep: SweepConfig = field(default_factory=SweepConfig)
    """return by noise and shots: a table, sweep.json, sweep.svg and sweep.png in the run's folder"""

    @model_validator(mode="after")
    def _sweeps(self) -> Self:
        self.sweep.check()
        if self.sweep.asked and self.video is not None:
            raise ValueError(f"video={self.video}: null is accepted with sweep.noise and sweep.shots")
        return self
