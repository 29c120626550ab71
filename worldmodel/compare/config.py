"""The configuration of a comparison: configs/compare.yaml, its suites and its arms."""

from dataclasses import field
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from worldmodel.launch.launcher import LauncherChoice

Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]
Names = Annotated[list[Name], Field(min_length=1)]
Words = list[str]
Metric = Literal["final", "area"]
Budget = Literal["steps", "seconds", "updates", "trials"]
_strict = ConfigDict(extra="forbid", frozen=True)


@dataclass(config=_strict)
class TaskConfig:
    """An environment of a suite.

    words: of the suite's command, which choose it. steps: of a run, environment steps or what the command counts; a
    bound where the budget is another. seconds and updates: the budget of a run where the suite says so. low and high:
    returns that count as 0 and 1. threshold: the return whose first reaching is the sample complexity. arms: words for
    some arms in this environment alone.
    """

    words: Words
    steps: Positive
    low: float
    high: float
    threshold: float | None = None
    seconds: Annotated[float, Field(gt=0)] | None = None
    updates: Positive | None = None
    arms: dict[Name, Words] = field(default_factory=dict)

    @model_validator(mode="after")
    def _scaled(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low={self.low}: less than high={self.high} is accepted")
        return self


@dataclass(config=_strict)
class ArmConfig:
    """An arm: what it is, its words of the suite's command, and the controls that belong to it.

    algorithm: of a model-free baseline; the environment's actions decide between dqn and sac where it is off_policy.
    trials: tuning trials that its words had.
    """

    words: Words = field(default_factory=list)
    controls: list[Name] = field(default_factory=list)
    about: str = ""
    algorithm: Literal["ppo", "dqn", "sac", "off_policy"] | None = None
    trials: Annotated[int, Field(ge=0)] = 0


@dataclass(config=_strict)
class SuiteConfig:
    """What is compared. command: what the runs are. environments: by name, with what differs from configs/task."""

    name: Name
    question: str
    command: Literal["train", "hpo", "fit"]
    environments: Annotated[dict[Name, Any], Field(min_length=1)]
    arms: Names
    controls: bool | list[Name]
    reference: Name
    seeds: Positive
    metric: Metric
    budget: Budget
    effects: list[Annotated[float, Field(gt=0)]]
    words: Words


@dataclass(config=_strict)
class CompareConfig:
    """A comparison."""

    logdir: str
    arms: Names
    reference: Name
    controls: bool | list[Name]
    seeds: Positive
    environments: Names | None
    words: Words
    arm: dict[Name, Any]
    deterministic: bool
    workers: Positive
    execute: bool
    device: Literal["ibm", "dwave"] | None
    suite: SuiteConfig
    launcher: LauncherChoice

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.arms)) < len(self.arms):
            raise ValueError(f"arms=[{','.join(self.arms)}]: each name once is accepted")
        for name in self.environments or ():
            if name not in self.suite.environments:
                known = ", ".join(self.suite.environments)
                raise ValueError(f"environments: {name}: suite {self.suite.name} has {known}")
        return self
