"""The configuration of `worldmodel.tune`: that of training with the agent that tunes."""

from dataclasses import asdict, field, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from worldmodel.train.config import Count, Positive, TrainConfig

if TYPE_CHECKING:
    from worldmodel.envs.circuits.qaoa_angles import TuningConfig

_strict = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
ID = "CircuitTuning-v0"
_EFFECTIVE = (*("steps", "seed", "logdir", "device", "threads"), *("env", "eval", "log", "checkpoint", "agent"))


@dataclass(config=_strict)
class AgentConfig:
    """What learns."""

    name: Literal["ppo", "sac", "worldmodel"]
    """ppo or sac of Stable-Baselines3, or worldmodel: our own agent, by the keys of training; env.num are its
    streams"""
    streams: Positive
    """episodes side by side, simulated as one batch; of worldmodel those that it plays to be distilled"""
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 64)
    """widths of the policy, a plain MLP, and of the critics; of worldmodel of the MLP that is fitted to its greedy
    actions"""
    options: dict[str, Any] = field(default_factory=dict)
    """by the names of Stable-Baselines3; lin_X falls from X to 0; of no effect on worldmodel"""
    episodes: Count = 0
    """of distillation, played greedily by worldmodel; the policies of the others are MLPs already"""
    landscape: Count = 0  # earlier runs have no such key
    """problems around whose first guesses the energy is measured in the end, for evaluations beyond the policy's; 0:
    none"""


@dataclass(config=_strict, kw_only=True)
class TuneConfig(TrainConfig):
    """A run that trains a tuning policy. With ppo and sac the keys of the world model have no effect."""

    agent: AgentConfig

    @model_validator(mode="after")
    def _tunes(self) -> Self:
        if self.env.id != ID:
            raise ValueError(f"env.id={self.env.id}: {ID} is accepted (env=circuit_tuning)")
        if self.agent.name == "worldmodel" and not self.agent.episodes:
            raise ValueError("agent.episodes=0: a positive number is accepted with agent=worldmodel")
        if not self.eval.final_episodes:
            raise ValueError("eval.final_episodes=0: a positive number is accepted; it measures the policy")
        if self.eval.environments == "shared" and self.agent.name != "worldmodel":
            raise ValueError(f"eval.environments=shared: own is accepted with agent={self.agent.name}")
        self.tuning  # noqa: B018 - its options are checked here
        return self

    @property
    def tuning(self) -> "TuningConfig":
        """The environment's options. Raises EnvironmentRefused."""
        from worldmodel.envs.circuits.qaoa_angles import TuningConfig, tuning_config

        made: TuningConfig = tuning_config(TuningConfig, self.env.kwargs)
        return made

    def effective(self) -> dict[str, Any]:
        """The values that have an effect on ppo and sac: what config.yaml says and continuing compares."""
        values = asdict(self)
        return {key: values[key] for key in _EFFECTIVE}

    def training(self, logdir: str) -> TrainConfig:
        """The training of agent=worldmodel, in this folder."""
        values = {field.name: getattr(self, field.name) for field in fields(TrainConfig)}
        return TrainConfig(**{**values, "logdir": logdir})
