"""Parameter groups of an optimiser: angles of circuits learn at a rate of their own."""

from typing import Any

from torch import nn


def angular(agent: nn.Module) -> set[nn.Parameter]:
    """The parameters of modules that call themselves angular: angles of circuits, scales of inputs and outputs."""
    modules = [module for module in agent.modules() if getattr(module, "angular", False)]
    return {parameter for module in modules for parameter in module.parameters(recurse=False)}


def grouped(named: list[tuple[str, nn.Parameter]], angles: set[nn.Parameter], lr: float) -> list[dict[str, Any]]:
    """Parameter groups of an optimiser. Angles are a group of their own, with this learning rate, if there are any."""
    groups: list[dict[str, Any]] = [{"params": [(name, p) for name, p in named if p not in angles]}]
    own = [(name, p) for name, p in named if p in angles]
    return [*groups, {"params": own, "lr": lr}] if own else groups
