"""Update directions by Qubo for the world model: `optimizer=hybrid`."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hybrid_opt.direction.config import DirectionConfig
from hybrid_opt.direction.optimizer import HybridOptimizer
from worldmodel.model.agent import Agent
from worldmodel.model.batch import Carry, Windows
from worldmodel.train.laprop import LaProp
from worldmodel.train.optimizers import HybridConfig, LaPropConfig, LaPropOptions
from worldmodel.train.parameter_groups import angular, grouped

WORLD_MODEL = "world_model."  # begins the names of what is learned of the environment


class _ModelLoss(nn.Module):
    """An agent as a module whose call is its model loss, which is what functional_call can call."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.agent = agent

    def forward(self, windows: Windows, generator: torch.Generator) -> Tensor:
        return (self.agent.model_loss(windows, generator) * windows.weight).mean()


def model_loss(
    agent: Agent, precision: torch.dtype, windows: int
) -> Callable[[Mapping[str, Tensor], Windows, torch.Generator], Tensor]:
    """The world model's loss of the agent, with its parameters replaced, on `windows` of a batch, evenly spread."""
    module = _ModelLoss(agent)

    def loss(parameters: Mapping[str, Tensor], batch: Windows, generator: torch.Generator) -> Tensor:
        named = {f"agent.{name}": tensor for name, tensor in parameters.items()}
        device = batch.reward.device.type
        # without the cache of casts, which would outlive a trial point
        with torch.autocast(device, precision, enabled=precision != torch.float32, cache_enabled=False):
            value: Tensor = functional_call(module, named, (some(batch, windows), generator))
        return value

    return loss


def some(batch: Windows, count: int) -> Windows:
    """So many windows of a batch, evenly spread."""
    rows = len(batch.weight)
    keep = torch.arange(min(count, rows), device=batch.weight.device) * rows // min(count, rows)
    state, action = batch.before
    fields = {
        key: value[:, keep] for key, value in batch._asdict().items() if isinstance(value, Tensor) and value.ndim > 1
    }
    return batch._replace(
        **fields,
        observation={key: value[:, keep] for key, value in batch.observation.items()},
        before=Carry(state.rows(keep), action[keep]),
        weight=batch.weight[keep],
    )


def make_optimizer(
    config: LaPropConfig | HybridConfig,
    agent: Agent,
    precision: torch.dtype,
    seed: int,
    deterministic: bool,
    opened: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> torch.optim.Optimizer:
    """The optimiser of an agent. opened: options with backends in the place of their names.

    The world model's parameters take moves; actor and critic, on which its loss does not depend, always take the base
    step. Where deterministic, the wall-clock has no say.
    """
    own = {field.name: getattr(config, field.name) for field in fields(LaPropOptions)}
    angles, _ = own.pop("angles"), own.pop("final_rate")
    named = [(name, p) for name, p in agent.named_parameters() if p.requires_grad]
    groups = grouped(named, angular(agent), config.lr * angles)
    if config.name == "laprop":
        return LaProp([{**group, "params": [p for _, p in group["params"]]} for group in groups], **own)
    options = {field.name: getattr(config, field.name) for field in fields(DirectionConfig)}
    options |= {"seed": seed} | ({"overhead": None} if deterministic else {})
    where = opened({"solver": config.solver, "backend": config.backend})
    if config.escape is not None:
        escape = opened({"solver": config.escape.solver, "backend": config.backend})["solver"]
        options["escape"] = replace(config.escape, solver=escape)
    optimizer = HybridOptimizer(LaProp(groups, **own), **where, **options)
    model = [(name, p) for name, p in named if name.startswith(WORLD_MODEL)]
    optimizer.attach(model_loss(agent, precision, config.windows), model)
    return optimizer
