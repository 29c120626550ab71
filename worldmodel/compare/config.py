"""The configuration of a comparison, its suites and its arms."""

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
_strict = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(config=_strict)
class TaskConfig:
    """An environment of a suite."""

    words: Words
    """of the suite's command, which choose it"""
    steps: Positive
    """of a run, environment steps or what the command counts; a bound where the budget is another"""
    low: float
    """return that counts as a score of 0"""
    high: float
    """return that counts as a score of 1"""
    threshold: float | None = None
    """return whose first reaching is the sample complexity; null: none"""
    seconds: Annotated[float, Field(gt=0)] | None = None
    """the budget of a run where suite.budget=seconds"""
    updates: Positive | None = None
    """the budget of a run where suite.budget=updates"""
    arms: dict[Name, Words] = field(default_factory=dict)
    """words for some arms in this environment alone"""

    @model_validator(mode="after")
    def _scaled(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low={self.low}: less than high={self.high} is accepted")
        return self


@dataclass(config=_strict)
class ArmConfig:
    """An arm."""

    words: Words = field(default_factory=list)
    """of the suite's command; {place} stands for suite.place"""
    places: dict[str, Words] = field(default_factory=dict)
    """words for some places, instead of these"""
    controls: list[Name] = field(default_factory=list)
    """arms that run beside it and that it is tested against"""
    about: str = ""
    """what the report calls it"""
    algorithm: Literal["ppo", "dqn", "sac", "off_policy"] | None = None
    """of a model-free baseline; off_policy: dqn or sac, as the environment's actions decide"""
    trials: Annotated[int, Field(ge=0)] = 0
    """tuning trials that its words had"""


@dataclass(config=_strict, kw_only=True)
class SuiteConfig:
    """What is compared."""

    name: Name
    """of the suite"""
    question: str
    """what the comparison is to answer"""
    command: Literal["train", "hpo", "fit"] = "train"
    """what the runs are: train, hpo (studies of samplers) or fit (small trainings on fixed data)"""
    environments: Annotated[dict[Name, Any], Field(min_length=1)]
    """names of configs/task, each with what is to differ here, or your own, 'suite.environments.NAME={words: [...],
    steps: N, low: X, high: Y}'"""
    arms: Names
    """that are run unless others are named"""
    controls: bool | list[Name] = True
    """of the arms that take part: true (all), false (none) or names; the others are told of in the report"""
    reference: Name
    """the arm that the others are tested against"""
    place: str = "heads.actor"
    """where arms with a circuit have it: heads.NAME, router or cell"""
    seeds: Positive = 10
    """runs of each arm in each environment"""
    first_seed: Annotated[int, Field(ge=0)] = 0
    """the seed of the first; the others follow. One that no recipe was tuned on makes a fair table"""
    metric: Metric = "final"
    """final: mean return of the last evaluation; area: mean of all evaluations"""
    budget: Budget = "steps"
    """what runs have alike: steps, seconds, updates, or trials of tuning beside the steps"""
    effects: list[Annotated[float, Field(gt=0)]] = field(default_factory=lambda: [0.1, 0.2, 0.4])
    """differences of scores whose power is told"""
    anchors: str | None = None
    """published returns that the report shows beside these: dmc_proprio or gymnasium; null: none"""
    words: Words = field(default_factory=list)
    """of training, for every arm"""


@dataclass(config=_strict, kw_only=True)
class CompareConfig:
    """A comparison."""

    logdir: str
    """the folder of the comparison; one that is there is continued"""
    arms: Names
    """names of arms, the reference among them: any of configs/arm, or of your own"""
    reference: Name
    """the arm that every other one is tested against"""
    controls: bool | list[Name]
    """which controls of the arms also run: true (all), false (none) or names; the report lists the others"""
    seeds: Positive
    """runs of each arm in each environment, with the seeds suite.first_seed, that + 1, ..."""
    environments: Names | None = None
    """names of the suite's environments; null: all of them"""
    words: Words = field(default_factory=list)
    """words of training for every arm, such as "words=['threads=1']\""""
    arm: dict[Name, Any] = field(default_factory=dict)
    """arms of your own by name, such as "arm.mine={words: ['replay=annealed'], controls: [classical]}\""""
    deterministic: bool = False
    """bit-exact runs on the CPU"""
    workers: Positive = 1
    """runs at a time"""
    execute: bool = True
    """false: run nothing, and report what is there so far"""
    device: Literal["ibm", "dwave"] | None = None
    """a device, such as ibm or dwave, for whose price quantum jobs are estimated; null: as they were booked"""
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
