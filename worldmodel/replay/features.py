"""What the selectors of the replay see of the model: a few numbers for a window, or for the present."""

import torch
from torch import Tensor

from worldmodel.replay.buffer import Array

WIDTH = 64  # of the features; enough for angles between them to be those between states, to about 0.1


class Pooling:
    """Random projections of the recurrent state, fixed by the seed (Johnson and Lindenstrauss 1984).

    Shapes: T steps, B windows, E streams, D deter, F = 64 features.
    """

    def __init__(self, deter: int, seed: int, device: torch.device) -> None:
        generator = torch.Generator()
        generator.manual_seed(seed)
        self._directions = torch.randn(deter, WIDTH, generator=generator).div_(WIDTH**0.5).to(device)

    def windows(self, deter: Tensor) -> Array:
        """Features float32 [B, F] of windows, from the means over time of their states [T, B, D]."""
        return self.present(deter.mean(0))

    @torch.no_grad()
    def present(self, deter: Tensor) -> Array:
        """Features float32 [E, F] of the states [E, D] that the agent is in."""
        features: Array = (deter.float() @ self._directions).cpu().numpy()
        return features
