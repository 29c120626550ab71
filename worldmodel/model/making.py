"""The agent of a configuration."""

from collections.abc import Mapping
from typing import Any

from worldmodel.envs.spaces.spaces import ActionSpec, ObservationSpec
from worldmodel.model.agent import Agent
from worldmodel.model.control.agent import ControlAgent


def make_agent(config: Any, observations: Mapping[str, ObservationSpec], action: ActionSpec) -> Any:
    """Make the agent of a run's configuration, with its initial weights."""
    if config.model.agent == "control":
        return ControlAgent(observations, action, config.size, config.loss, config.control, config.behavior.discount)
    return Agent(observations, action, config.size, config.loss, config.behavior, config.parts)
