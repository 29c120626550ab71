"""Distillation: a small MLP that does what a world-model agent does greedily."""

from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hybrid_opt.circuits.schedules.learned import TuningPolicy
from worldmodel.envs import Environments
from worldmodel.evaluate.policy import load
from worldmodel.launch import hardware
from worldmodel.tune.config import TuneConfig
from worldmodel.tune.sb3 import policy_of

EPOCHS = 60
BATCH = 256
SEED = 31_337  # the problems are none of the training's or the evaluation's


def distilled(config: TuneConfig, logdir: Path) -> TuningPolicy:
    """Play episodes with the run's latest agent and fit the MLP of `agent.hidden` to its greedy actions."""
    agent = load(logdir, device=config.device)
    observations, actions = _played(agent.player, config)
    network = _fitted(observations, actions, config)
    linear = [module for module in network if isinstance(module, nn.Linear)]
    about = {"agent": "worldmodel", "seed": config.seed, "evaluations": agent.step, "env": config.env.kwargs}
    about["distillation"] = len(observations)  # evaluations
    return policy_of(linear, "clip", config.tuning, about)


def _played(player: Any, config: TuneConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Observations and greedy actions, float32 [K, ...], of `agent.episodes` episodes."""
    streams = min(config.agent.streams, config.agent.episodes)
    seen, chosen, episodes = [], [], 0
    with closing(Environments(config.env, streams, config.seed + SEED)) as environments:
        current, memory = environments.reset(), player.initial(streams)
        while episodes < config.agent.episodes:
            memory = player.act(current.observation, current.is_first, memory, greedy=True)
            action = player.action(memory)
            (observation,) = current.observation.values()
            seen.append(observation.copy())
            chosen.append(np.clip(action, -1, 1))
            step = environments.step(action)
            current, episodes = step.current, episodes + len(step.episodes)
    return torch.from_numpy(np.concatenate(seen)), torch.from_numpy(np.concatenate(chosen))


def _fitted(observations: torch.Tensor, actions: torch.Tensor, config: TuneConfig) -> nn.Sequential:
    """An MLP by least squares; the last tenth is held out, to say what is lost."""
    hardware.set_threads(config.threads, small=True)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        widths = [observations.shape[1], *config.agent.hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.Tanh()]
        network = nn.Sequential(*layers, nn.Linear(widths[-1], actions.shape[1]))
        held = max(1, len(observations) // 10)
        known, told = observations[:-held], actions[:-held]
        optimizer = torch.optim.Adam(network.parameters(), 1e-3)
        steps = EPOCHS * max(1, len(known) // BATCH)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
        for _ in range(steps):
            rows = torch.randint(len(known), (min(BATCH, len(known)),))
            loss = nn.functional.mse_loss(network(known[rows]), told[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        left = nn.functional.mse_loss(network(observations[-held:]), actions[-held:]).item()
    spread = actions[-held:].var(0, unbiased=False).mean().item()
    print(f"distilled from {len(observations)} actions: mean squared error {left:.5f} of a variance of {spread:.5f}")
    return network
