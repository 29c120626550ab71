"""Agents that heed two of eight observations, since they were trained to: what explanations of them must find."""

import torch
from torch import Tensor
from torch.nn import functional as F

from worldmodel.envs import ActionSpec, ObservationSpec
from worldmodel.explain.inputs import Inputs
from worldmodel.explain.targets import DreamerTargets
from worldmodel.model.agent import Agent
from worldmodel.model.config import BehaviorConfig, LossConfig
from worldmodel.model.size import ModelSize
from worldmodel.model.twohot import TwoHot

WIDTH, PLANTED, ROWS = 8, (2, 5), 128
SIZE = ModelSize(deter=16, hidden=32, classes=4, units=32, depth=2, stoch=8, blocks=4)


def observations(count: int, generator: torch.Generator) -> Tensor:
    """Observations [N, 8] whose entries are all 0.5 to 1.5 in size: a planted one near 0 could not be found."""
    sizes = 0.5 + torch.rand(count, WIDTH, generator=generator)
    return sizes * (2 * torch.randint(2, (count, WIDTH), generator=generator) - 1)


def planted(seed: int, updates: int = 800) -> tuple[DreamerTargets, Inputs]:
    """Train encoder, posterior, actor and critic of an agent so that two observations alone decide.

    The better of two actions, and the value, are those of the sum of both.
    """
    specs = {"observation": ObservationSpec("vector", (WIDTH,))}
    inputs, generator = Inputs(specs), torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        agent = Agent(specs, ActionSpec("discrete", (2,)), SIZE, LossConfig(), BehaviorConfig())
    targets = DreamerTargets(agent, inputs)
    parameters = [each for each in targets.parameters() if each.requires_grad]
    optimizer, deter = torch.optim.Adam(parameters, 3e-3), torch.zeros(ROWS, SIZE.deter)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, updates)
    for _ in range(updates):
        rows = observations(ROWS, generator)
        wanted, feature = rows[:, PLANTED].sum(1), targets.feature(rows, deter)
        logits = targets.actor.net(feature)
        policy = F.binary_cross_entropy_with_logits(logits[:, 0] - logits[:, 1], (2 * wanted).sigmoid().double())
        value = TwoHot().loss(targets.critic(feature).float(), (wanted, 1.0))
        optimizer.zero_grad()
        (policy + value.mean()).backward()
        optimizer.step()
        decay.step()
    return targets, inputs
