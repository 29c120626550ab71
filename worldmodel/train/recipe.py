"""What `training=auto` becomes: the recipe that suits an environment."""

from collections.abc import Collection, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from hybrid_opt.paths import user_path
from worldmodel.cli.compose import UsageError, composed, configured
from worldmodel.cli.schema import catalogue, configs_folder
from worldmodel.envs import ActionSpec, ObservationSpec, make_env
from worldmodel.envs.spaces.encode import ActionDecoder
from worldmodel.model.factory import Factory
from worldmodel.runs.checkpoint import state_file
from worldmodel.runs.folder import differences
from worldmodel.runs.saved_state import load_state
from worldmodel.train.config import TrainConfig

AUTO = "quick"  # what it is composed as until the spaces are known


def is_open(words: Sequence[str], configs: Path | None = None) -> bool:
    """Whether words leave the recipe to the environment."""
    folder = configs or configs_folder()
    return composed(catalogue(folder, "train"), folder, "train", words).choices.get("training") == "auto"


def suiting(config: TrainConfig, observations: Mapping[str, ObservationSpec], action: ActionSpec) -> tuple[str, str]:
    """Return the choice of `training` for these spaces, or for the weights to begin with, and why (docs/control.md).

    Raises CorruptFile where the weights cannot be read.
    """
    if config.init is not None:
        weights = load_state(state_file(user_path(config.init, "init"))).get("agent", {})
        return "control" if "critics.weights.0" in weights else AUTO, "the weights to begin with are of its agent"
    if any(spec.kind == "image" for spec in observations.values()):
        return AUTO, "observations are images"
    if config.model.memory != "none":
        return "memory", "a policy stays open until its memory has learned to recall"
    if action.kind == "discrete":
        return AUTO, "actions are discrete"
    if config.parts.kinds != Factory().kinds or config.optimizer.name != "laprop":
        return AUTO, "its agent has the parts that were chosen"
    return "control", "actions are continuous, and observations are no images"


def begun_as(values: Mapping[str, Any], words: Sequence[str], may_change: Collection[str]) -> str:
    """Return the choice, of those that auto becomes, by which words differ least from the values of a run."""

    def gap(name: str) -> float:
        try:
            return len(differences(values, with_recipe(words, name).as_dict(), may_change))
        except UsageError:  # parts that this agent does not have
            return inf

    return min((AUTO, "control", "memory"), key=gap)


def with_recipe(words: Sequence[str], name: str) -> TrainConfig:
    """Compose the configuration of words again, by another recipe than `AUTO`. Raises UsageError."""
    return configured("train", TrainConfig, [*words, f"training={name}"])


def suiting_made(config: TrainConfig) -> str:
    """Return the choice of `training` that suits a configuration, whose environment is made for it once."""
    env = make_env(config.env)
    try:
        return suiting(config, env.layout.specs, ActionDecoder(env.action_space).spec)[0]
    finally:
        env.close()
