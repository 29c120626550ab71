"""The configuration of `worldmodel.tune`: configs/tune.yaml, that of training with the agent that tunes."""

from dataclasses import asdict, fields
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from worldmodel.envs.circuits.qaoa_angles import TuningConfig, tuning_config
from worldmodel.train.config import Count, Positive, TrainConfig

_strict = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
ID = "CircuitTuning-v0"
_EFFECTIVE = (*("steps", "seed", "logdir", "device", "threads"), *("env", "eval", "log", "checkpoint", "agent"))


@dataclass(config=_strict)
class AgentConfig:
    """name: who learns. streams: episodes side by side. hidden: widths of the MLP. options: of Stable-Baselines3.
    episodes: played by a world-model agent to be distilled. landscape: problems around whose first guesses the energy
    is measured in the end.
    """

    name: Literal["ppo", "sac", "worldmodel"]
    streams: Positive
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)]
    options: dict[str, Any]
    episodes: Count
    landscape: Count = 0  # earlier runs have no such key


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
    def tuning(self) -> TuningConfig:
        """The environment's options. Raises EnvironmentRefused."""
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
