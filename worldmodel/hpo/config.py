"""The configuration of a study of a small model."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from worldmodel.compare.tasks.objectives import check_installed
from worldmodel.search.samplers import Sampler


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True), kw_only=True)
class HpoConfig:
    """A study: the task, the trials, and the sampler with the seed that it has through configs/sampler."""

    task: Literal["svm_digits", "boosting_cancer", "mlp_wine"] = "svm_digits"
    """what is tuned: svm_digits, boosting_cancer or mlp_wine"""
    trials: Annotated[int, Field(ge=1)] = 60
    """trials of the study"""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """of the sampler; the loss of a point is the same at every call"""
    logdir: str = "auto"
    """the run's folder; a finished run is left as it is, another begins anew; auto: one under runs/"""
    backend: str = "statevector"
    """where a solver that is named runs"""
    budget: dict[str, float] | None = None
    """the most that quantum jobs of this run may cost, such as 'budget={shots:1e6,seconds:60,dollars:5}'"""
    sampler: Sampler

    def check(self) -> None:
        """Raise UsageError or ProblemError for what cannot be run."""
        check_installed(self.task)
        self.sampler.make()

    def as_dict(self) -> dict[str, Any]:
        """The values by key."""
        return asdict(self)
