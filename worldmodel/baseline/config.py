"""The configuration of a model-free baseline."""

from dataclasses import asdict, field
from typing import Any, Literal, Self

from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass

from worldmodel.train.config import TrainConfig

ACTIONS = {"ppo": ("discrete", "multi-discrete", "continuous"), "dqn": ("discrete",), "sac": ("continuous",)}
_OWN = (
    *("steps", "seconds", "seed", "logdir", "device", "threads"),
    *("deterministic", "env", "eval", "algorithm", "options"),
)


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True), kw_only=True)
class BaselineConfig(TrainConfig):
    """A run of PPO, DQN or SAC. Of the keys of training, those of the world model have no effect."""

    algorithm: Literal["ppo", "dqn", "sac"] = "ppo"
    """ppo, dqn or sac"""
    options: dict[str, Any] = field(default_factory=dict)
    """of the algorithm, by the names of Stable-Baselines3; lin_X is a schedule that falls from X to 0"""

    @model_validator(mode="after")
    def _evaluates_beside(self) -> Self:
        if self.eval.environments == "shared":
            raise ValueError("eval.environments=shared: own is accepted by baselines")
        return self

    def as_dict(self) -> dict[str, Any]:
        """The values that have an effect: what config.yaml says and continuing compares."""
        values = asdict(self)
        return {key: values[key] for key in _OWN}

    def fits(self, actions: str) -> bool:
        """Whether the algorithm takes such actions."""
        return actions in ACTIONS[self.algorithm]

    @staticmethod
    def accepted(actions: str) -> str:
        """What takes such actions."""
        return f"{' or '.join(name for name, kinds in ACTIONS.items() if actions in kinds)} is accepted"
