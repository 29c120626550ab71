"""A deterministic latent model without a decoder (after MR.Q, Fujimoto et al. 2025, arXiv 2501.16142)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from worldmodel.envs.spaces.spaces import ObservationSpec
from worldmodel.model.control.normalizer import RunningNorm
from worldmodel.model.encoder import flat_inputs
from worldmodel.model.layers import MLP, Linear, NormAct
from worldmodel.model.size import ModelSize


class LatentModel(nn.Module):
    """Encodes observations, and predicts the next latent, the reward and the end from a latent and an action.

    Shapes: O observation, D latent (size.deter), A action, U feature of latent and action (size.units).
    """

    def __init__(self, observations: Mapping[str, ObservationSpec], action: int, size: ModelSize, bins: int) -> None:
        super().__init__()
        self.specs, self.widths = dict(observations), (size.deter, bins, 1)
        inputs = sum(sum(spec.classes) or spec.shape[0] for spec in observations.values())
        self.norm = RunningNorm(inputs)
        self.encoder = nn.Sequential(MLP(inputs, size.units, 2), Linear(size.units, size.deter), NormAct(size.deter))
        self.action_in = nn.Sequential(Linear(action, size.units // 2), NormAct(size.units // 2))
        self.joint = nn.Sequential(MLP(size.deter + size.units // 2, size.units, 2), Linear(size.units, size.units))
        self.out = Linear(size.units, sum(self.widths))

    def inputs(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return vectors and one-hots side by side, [..., O]."""
        return flat_inputs(observation, self.specs, lambda vector: vector)

    def encode(self, inputs: Tensor) -> Tensor:
        """[..., O] -> [..., D]."""
        latent: Tensor = self.encoder(self.norm(inputs))
        return latent

    def feature(self, latent: Tensor, action: Tensor) -> Tensor:
        """[..., D], [..., A] -> [..., U]: what a critic sees, and what all predictions are linear in."""
        feature: Tensor = self.joint(torch.cat([latent, self.action_in(action)], -1))
        return feature

    def predict(self, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the next latent [..., D], logits of its reward [..., bins], and of its being terminal [...]."""
        latent, reward, ended = self.out(feature).split(self.widths, -1)
        return latent, reward, ended.squeeze(-1)
