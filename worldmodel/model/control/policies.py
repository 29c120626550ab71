"""Policies: who finds the action of the greatest value."""

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.envs.spaces.spaces import ActionSpec
from worldmodel.model.control.config import ControlConfig
from worldmodel.model.control.critics import Critics
from worldmodel.model.control.latent_model import LatentModel
from worldmodel.model.layers import MLP, Linear
from worldmodel.model.size import ModelSize


class Ascent(nn.Module):
    """For continuous actions: a network that ascends the critics' mean (Silver et al. 2014). [N, D] -> [N, A]."""

    def __init__(self, size: ModelSize, action: ActionSpec, control: ControlConfig) -> None:
        super().__init__()
        self.width, self.config = action.width, control
        self.net = nn.Sequential(MLP(size.deter, size.deter, 2), Linear(size.deter, action.width, 0.01))

    def best(self, latent: Tensor, model: LatentModel, critics: Critics) -> Tensor:
        """Return the action of the greatest value, as far as is known."""
        return torch.tanh(self.net(latent))

    def random(self, rows: int, generator: torch.Generator | None) -> Tensor:
        """Return uniform actions."""
        return torch.empty(rows, self.width, device=next(self.net.parameters()).device).uniform_(
            -1, 1, generator=generator
        )

    def explore(self, action: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return actions with noise."""
        return (action + self.config.noise * torch.empty_like(action).normal_(generator=generator)).clamp(-1, 1)

    def target(self, latent: Tensor, model: LatentModel, critics: Critics, generator: torch.Generator | None) -> Tensor:
        """Return actions for the critics' targets, smoothed by clamped noise (Fujimoto et al. 2018)."""
        action, deviation = torch.tanh(self.net(latent)), self.config.target_noise
        noise = torch.empty_like(action).normal_(generator=generator) * deviation
        return (action + noise.clamp(-1.5 * deviation, 1.5 * deviation)).clamp(-1, 1)

    def loss(self, latent: Tensor, model: LatentModel, critics: Critics) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss [N], whose gradient reaches this network alone."""
        raw = self.net(latent)
        ascent = critics(model.feature(latent, torch.tanh(raw)), learn=False).mean(0)
        loss = self.config.pre_activation * raw.square().mean(-1) - ascent
        return loss, {"loss/actor": loss.mean(), "behavior/pre_activation": raw.abs().mean()}


class Choice(nn.Module):
    """For discrete actions: asks the critics for the value of each of K. [N, D] -> one-hots [N, A]."""

    choices: Tensor

    def __init__(self, size: ModelSize, action: ActionSpec, control: ControlConfig) -> None:
        super().__init__()
        self.config = control
        components = [F.one_hot(torch.arange(classes, device="cpu"), classes).float() for classes in action.sizes]
        self.register_buffer(
            "choices", torch.stack([torch.cat(rows) for rows in product(*components)]), persistent=False
        )

    def best(self, latent: Tensor, model: LatentModel, critics: Critics) -> Tensor:
        """Return the action of the greatest value, by the critics' mean."""
        rows = latent.unsqueeze(1).expand(-1, len(self.choices), -1)
        values = critics(model.feature(rows, self.choices.expand(len(latent), -1, -1)).flatten(0, 1)).mean(0)
        return self.choices[values.view(len(latent), -1).argmax(-1)]

    def random(self, rows: int, generator: torch.Generator | None) -> Tensor:
        """Return uniform actions."""
        chance = self.choices.new_empty(rows).uniform_(generator=generator)
        return self.choices[(chance * len(self.choices)).long()]

    def explore(self, action: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return actions of which a share is uniform."""
        chance = self.choices.new_empty(len(action), 1).uniform_(generator=generator)
        return torch.where(chance < self.config.random, self.random(len(action), generator), action)

    def target(self, latent: Tensor, model: LatentModel, critics: Critics, generator: torch.Generator | None) -> Tensor:
        """Return actions for the critics' targets."""
        return self.best(latent, model, critics)

    def loss(self, latent: Tensor, model: LatentModel, critics: Critics) -> tuple[Tensor, dict[str, Tensor]]:
        """Return none: nothing is learned beside the critics."""
        return latent.new_zeros(len(latent)), {}
