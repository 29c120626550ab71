"""Fresh losses of replayed items: what they would be learned from if they were drawn now."""

import numpy as np
import torch

from worldmodel.model.player import Player
from worldmodel.replay.buffer import Array
from worldmodel.replay.stream import Stream

BATCH = 64  # items that pass through the model at once


class ModelProbe:
    """Runs the model on items without learning from them; nothing that training depends on is touched.

    Every call draws its latents with the same noise: one model gives the same losses for the same ids.
    """

    def __init__(self, player: Player, seed: int) -> None:
        self._player, self._seed = player.copy(seed), seed
        self._stream: Stream | None = None

    def bind(self, stream: Stream) -> None:
        """Say where the items are; a replay is made after its selector."""
        self._stream = stream

    def __call__(self, ids: Array) -> Array:
        """Model loss float64 [B] of the first window of each item; ids int64 [B]. Raises LookupError for others."""
        assert self._stream is not None
        agent, generator, losses = self._player.agent, self._player.generator, [np.empty(0)]
        for first in range(0, len(ids), BATCH):
            windows = self._stream.at(ids[first : first + BATCH])
            generator.manual_seed(self._seed)
            with torch.no_grad(), self._player.autocast():
                losses.append(agent.model_loss(windows, generator).double().cpu().numpy())
        return np.concatenate(losses)
