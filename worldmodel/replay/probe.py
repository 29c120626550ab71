"""Fresh losses of replayed items: what they would be learned from if they were drawn now."""

import numpy as np
import torch

from worldmodel.model.player import Player
from worldmodel.replay.buffer import Array, Replay
from worldmodel.replay.stream import to_windows

BATCH = 64  # items that pass through the model at once


class ModelProbe:
    """Runs the model on items without learning from them; nothing that training depends on is touched.

    Every call draws its latents with the same noise: one model gives the same losses for the same ids.
    """

    def __init__(self, player: Player, seed: int) -> None:
        self._player, self._seed = player.copy(seed), seed
        self._replay: Replay | None = None

    def bind(self, replay: Replay) -> None:
        """Say where the items are; a replay is made after its selector."""
        self._replay = replay

    def __call__(self, ids: Array) -> Array:
        """Model loss float64 [B] of the first window of each item; ids int64 [B]. Raises LookupError for others."""
        assert self._replay is not None
        agent, generator, device = self._player.agent, self._player.generator, self._player.device
        losses, classes = [np.empty(0)], agent.world_model.rssm.size.classes
        for first in range(0, len(ids), BATCH):
            windows = to_windows(self._replay.at(ids[first : first + BATCH]), device, classes)
            generator.manual_seed(self._seed)
            with torch.no_grad(), self._player.autocast():
                losses.append(agent.model_loss(windows, generator).double().cpu().numpy())
        return np.concatenate(losses)
