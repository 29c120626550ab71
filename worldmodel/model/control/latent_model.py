"""A deterministic latent model without a decoder (after MR.Q, Fujimoto et al. 2025, arXiv 2501.16142)."""

import torch
from torch import Tensor, nn

from worldmodel.model.layers import MLP, Linear, NormAct
from worldmodel.model.size import ModelSize


class LatentModel(nn.Module):
    """Encodes observations, and predicts the next latent, the reward and the end from a latent and an action.

    Shapes: O inputs, D latent, and all other layers (size.deter), A action.
    """

    def __init__(self, inputs: int, action: int, size: ModelSize, bins: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(MLP(inputs, size.deter, 2), Linear(size.deter, size.deter), NormAct(size.deter))
        self.action_in = nn.Sequential(Linear(action, size.deter // 2), NormAct(size.deter // 2))
        self.joint = nn.Sequential(MLP(size.deter + size.deter // 2, size.deter, 2), Linear(size.deter, size.deter))
        self.ahead, self.read = Linear(size.deter, size.deter), Linear(size.deter, bins + 1)

    def encode(self, inputs: Tensor) -> Tensor:
        """[..., O] -> [..., D]."""
        latent: Tensor = self.encoder(inputs)
        return latent

    def feature(self, latent: Tensor, action: Tensor) -> Tensor:
        """[..., D], [..., A] -> [..., D]: what a critic sees, and what all predictions are linear in."""
        feature: Tensor = self.joint(torch.cat([latent, self.action_in(action)], -1))
        return feature

    def rollout(self, latent: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Follow actions [H, B, A] from latents [B, D].

        Returns the latents after each [H, B, D], logits of the rewards [H, B, bins], and of being terminal [H, B].
        """
        features, latents = [], []
        for acted in self.action_in(actions):
            features.append(self.joint(torch.cat([latent, acted], -1)))
            latent = self.ahead(features[-1])
            latents.append(latent)
        read = self.read(torch.stack(features))
        return torch.stack(latents), read[..., :-1], read[..., -1]
