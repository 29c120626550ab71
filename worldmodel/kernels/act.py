"""Acting on the processor, compiled: encoder, recurrent cell and actor see one step of each of a few streams."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hybrid_opt.simd import registers
from worldmodel.kernels import rssm_sequence
from worldmodel.kernels.packing import PANEL, Array, Layer, Output, array, head_of, packed, padded, trunk_of
from worldmodel.kernels.rssm_sequence import SOURCES, Cell, Drive, cell_of, drive, drive_of, enter, gates_of, mix
from worldmodel.kernels.tile_ops import (
    add_product,
    dense,
    draw,
    gate,
    gather,
    lanes_for,
    network,
    norm_silu,
    reset,
    scatter,
    trunk,
)
from worldmodel.model.actor import Actor
from worldmodel.model.batch import State
from worldmodel.model.layers import MLP
from worldmodel.model.rssm import RSSM


class Networks(NamedTuple):
    """Weights, in panels."""

    encoder: tuple[Layer, ...]
    embed: Output  # with the bias of the posterior's inputs
    drive: Drive
    cell: Cell
    actor: tuple[Layer, ...]
    actor_out: Output


class Acting:
    """What an agent of vectors does in a step, in float32 on the CPU; weights that have changed are packed again."""

    def __init__(self, encoder: MLP, rssm: RSSM, actor: Actor) -> None:
        self._encoder, self._rssm, self._actor = encoder, rssm, actor
        self._weights = [weight for part in (encoder, rssm, actor) for weight in part.parameters()]
        self._packed: list[tuple[int, int]] = []

    def __call__(
        self, inputs: Tensor, keep: Tensor, action: Tensor, state: State, noise: Tensor
    ) -> tuple[State, Tensor]:
        """The next state [N], and what the actor's network gives for it [N, ...].

        inputs [N, I], of the encoder; keep [N, 1]: 0 where an episode starts; action [N, A] and state [N] before;
        noise [N, S], uniform.
        """
        now = [(weight.data_ptr(), weight._version) for weight in self._weights]
        if now != self._packed:
            self._networks, self._packed = self._pack(), now
        (rows, width), stoch = state.deter.shape, state.stoch.flatten(1)
        deter, sample, raw = (
            torch.empty(rows, size) for size in (width, stoch.shape[1], self._actor.net.out.out_features)
        )
        given = (inputs, keep, action, state.deter, stoch, noise, deter, sample, raw)
        _act(self._networks, self._rssm.size.classes, *map(array, given))
        return State(deter, sample.view(state.stoch.shape)), raw

    def _pack(self) -> Networks:
        rssm = self._rssm
        return Networks(
            trunk_of(self._encoder),
            (packed(rssm.posterior.embed.weight), padded(rssm.posterior.deter.bias)),
            drive_of(rssm),
            cell_of(rssm),
            *head_of(self._actor.net),
        )


@registers.cached(*SOURCES, rssm_sequence, fastmath={"contract"})
def _act(
    nets: Networks,
    classes: int,
    inputs: Array,
    keep: Array,
    action: Array,
    deter: Array,
    stoch: Array,
    noise: Array,
    deters: Array,
    samples: Array,
    raws: Array,
) -> None:
    (rows, width), count, hidden = deter.shape, stoch.shape[1], len(nets.cell.deter[2])
    wide, units = lanes_for(rows), max(len(nets.encoder[0][2]), len(nets.actor[0][2]), raws.shape[1])
    feature, seen = np.empty((width + count, wide), np.float32), np.empty((inputs.shape[1], wide), np.float32)
    now, sample = feature[:width], feature[width:]
    scratch = np.empty((2, units + PANEL, wide), np.float32)
    act, mask = np.empty((action.shape[1], wide), np.float32), np.empty((1, wide), np.float32)
    entered, late = np.empty((2 * hidden + PANEL, wide), np.float32), np.empty((hidden + PANEL, wide), np.float32)
    joint, gates = np.empty((width + PANEL, wide), np.float32), np.empty((3 * width + PANEL, wide), np.float32)
    logits, uniform = np.empty((count + PANEL, wide), np.float32), np.empty((noise.shape[1], wide), np.float32)
    for first in range(0, rows, wide):
        gather(inputs, first, seen)
        dense(nets.embed, trunk(nets.encoder, seen, scratch, first, None), late)
        gather(keep, first, mask)
        gather(action, first, act)
        gather(deter, first, now)
        gather(stoch, first, sample)
        reset(act, mask)
        reset(feature, mask)
        drive(nets.drive, act, entered, joint)
        enter(nets.cell, now, sample, entered)
        mix(nets.cell, now, entered, joint)
        gates_of(nets.cell, joint, gates)
        gate(now, gates, len(nets.cell.gates))
        add_product(nets.cell.post_deter, now, late)
        norm_silu(late, nets.cell.post_scale)
        dense(nets.cell.post_out, late, logits)
        gather(noise, first, uniform)
        draw(logits, uniform, classes, sample)
        scatter(now, deters, first)
        scatter(sample, samples, first)
        scatter(network(nets.actor, nets.actor_out, feature, scratch, first, None), raws, first)
