"""The agent of a configuration."""

from collections.abc import Mapping
from typing import Any

from hybrid_opt.errors import ProblemError
from worldmodel.envs.spaces.spaces import ActionSpec, ObservationSpec
from worldmodel.model.agent import Agent
from worldmodel.model.control.agent import ControlAgent


def make_agent(config: Any, observations: Mapping[str, ObservationSpec], action: ActionSpec) -> Any:
    """Make the agent of a configuration, with its initial weights. Raises ProblemError for images to `control`."""
    if config.model.agent == "control":
        if images := [key for key, spec in observations.items() if spec.kind == "image"]:
            raise ProblemError(
                f"model.agent=control: dreamer is accepted for env.id={config.env.id}, where {images[0]!r} is an image"
            )
        return ControlAgent(observations, action, config.size, config.loss, config.control, config.behavior.discount)
    return Agent(observations, action, config.size, config.loss, config.behavior, config.parts)
