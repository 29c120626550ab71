"""Imagined rollouts on the processor in compiled code: all steps of a tile of rows while its state is in the caches."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hybrid_opt.simd import registers
from hybrid_opt.simd.threads import in_threads
from worldmodel.kernels import rssm_sequence
from worldmodel.kernels.fused_layers import head
from worldmodel.kernels.packing import PANEL, Array, Layer, Output, array, head_of
from worldmodel.kernels.rssm_sequence import SOURCES, Cell, Drive, cell_of, drive, drive_of, enter, gates_of, mix
from worldmodel.kernels.tile_ops import LANES, draw, gate, gather, lanes_for, mean, network, scatter
from worldmodel.model import actor as actor_module
from worldmodel.model.actor import STD
from worldmodel.model.actor_critic import ActorCritic
from worldmodel.model.batch import Imagined, State
from worldmodel.model.world_model import WorldModel

LEAST, MOST = np.float32(STD[0]), np.float32(STD[1])
ONE, TWO = np.float32(1), np.float32(2)


class Networks(NamedTuple):
    """Weights, in panels."""

    drive: Drive
    cell: Cell
    prior: tuple[Layer, ...]
    prior_out: Output
    actor: tuple[Layer, ...]
    actor_out: Output
    reward: tuple[Layer, ...]
    reward_out: Output
    live: tuple[Layer, ...]
    live_out: Output
    slow: tuple[Layer, ...]
    slow_out: Output
    critic: tuple[Layer, ...]
    critic_out: Output
    bins: Array  # the positive ones


def imagine(
    model: WorldModel, behavior: ActorCritic, start: State, noise: Tensor, chance: Tensor, threads: int = 1
) -> Imagined:
    """Roll the prior out under the actor, in float32 on the CPU.

    start [N]; noise [H, N, 1, S], uniform; chance [H, N, ...], as `Actor.noise` gives it; threads: that share the rows.
    """
    (steps, rows), size, bins = chance.shape[:2], model.rssm.size, len(model.twohot.bins)
    actor, critic, networks = behavior.actor, behavior.critic, _networks(model, behavior)
    outputs = (size.stoch * size.classes, bins, actor.net.out.out_features)
    feature, action = torch.empty(steps + 1, rows, size.feature), torch.empty(steps, rows, actor.spec.width)
    reward, live, slow = (torch.empty(steps + 1 - late, rows) for late in (0, 0, 1))
    logits, raw = torch.empty(steps + 1, rows, bins), torch.empty(steps, rows, outputs[-1])
    layers = (len(critic.trunk.pairs()), len(actor.net.trunk.pairs()))
    passed = [torch.empty(count, steps + 1 - late, rows, size.units) for late, count in enumerate(layers)]
    inputs = (start.deter, start.stoch.flatten(1), noise.flatten(2), chance)
    arrays = [array(x) for x in (*inputs, feature, action, reward, live, slow, logits, raw, *passed)]
    widest = max(3 * size.deter, size.hidden, size.units, *outputs)
    discrete = actor.spec.kind == "discrete"
    sizes = np.array(actor.spec.sizes if discrete else (), np.int64)
    tiles = -(-rows // LANES)

    def share(part: int) -> None:
        begin, end = (min(rows, LANES * (tiles * number // threads)) for number in (part, part + 1))
        _roll(networks, sizes, size.classes, widest, begin, end, *arrays)

    in_threads(share, threads)
    logits = head(critic, feature, passed[0], logits, threads)
    raw = head(actor.net, feature[:-1], passed[1], raw, threads)
    return Imagined(feature, action, reward, live, slow, logits, raw)


def _networks(model: WorldModel, behavior: ActorCritic) -> Networks:
    rssm, bins = model.rssm, model.twohot.bins
    return Networks(
        drive_of(rssm),
        cell_of(rssm),
        *head_of(rssm.prior_net),
        *head_of(behavior.actor.net),
        *head_of(model.reward),
        *head_of(model.continuation),
        *head_of(behavior.slow_critic),
        *head_of(behavior.critic),
        array(bins[len(bins) // 2 + 1 :]),
    )


@registers.cached(*SOURCES, rssm_sequence, actor_module, fastmath={"contract"})
def _roll(
    nets: Networks,
    sizes: NDArray[np.int64],
    classes: int,
    widest: int,
    begin: int,
    end: int,
    deter: Array,
    stoch: Array,
    noise: Array,
    chance: Array,
    features: Array,
    actions: Array,
    rewards: Array,
    lives: Array,
    slows: Array,
    logits: Array,
    raws: Array,
    critic_pre: Array,
    actor_pre: Array,
) -> None:
    """Roll out the tiles of the rows from `begin` on, before `end`. widest: of all layers."""
    steps, rows, width = actions.shape
    deters, latents, hidden = deter.shape[1], stoch.shape[1] // classes, len(nets.cell.deter[2])
    wide = lanes_for(rows)
    feature = np.empty((features.shape[2], wide), np.float32)
    now, sample = feature[:deters], feature[deters:]
    scratch = np.empty((2, widest + PANEL, wide), np.float32)
    inputs = np.empty((2 * hidden + PANEL, wide), np.float32)
    joint = np.empty((deters + PANEL, wide), np.float32)
    act = np.empty((width, wide), np.float32)
    uniform = np.empty((max(latents, chance.shape[2]), wide), np.float32)
    found = np.empty(wide, np.float32)
    for first in range(begin, end, wide):
        count = min(wide, rows - first)
        gather(deter, first, now)
        gather(stoch, first, sample)
        for step in range(steps + 1):
            scatter(feature, features[step], first)
            mean(network(nets.reward, nets.reward_out, feature, scratch, first, None), nets.bins, found)
            rewards[step, first : first + count] = found[:count]
            logit = network(nets.live, nets.live_out, feature, scratch, first, None)[0]
            lives[step, first : first + count] = (ONE / (ONE + np.exp(-logit)))[:count]
            value = network(nets.critic, nets.critic_out, feature, scratch, first, critic_pre[:, step])
            scatter(value, logits[step], first)
            if step == steps:
                break
            mean(network(nets.slow, nets.slow_out, feature, scratch, first, None), nets.bins, found)
            slows[step, first : first + count] = found[:count]
            raw = network(nets.actor, nets.actor_out, feature, scratch, first, actor_pre[:, step])
            scatter(raw, raws[step], first)
            gather(chance[step], first, uniform)
            if len(sizes):
                part = 0
                for component, size in enumerate(sizes):
                    draw(raw[part : part + size], uniform[component : component + 1], size, act[part : part + size])
                    part += size
            else:
                std = (MOST - LEAST) / (ONE + np.exp(-raw[width : 2 * width] - TWO)) + LEAST
                act[:] = np.tanh(raw[:width]) + std * uniform[:width]
            scatter(act, actions[step], first)
            drive(nets.drive, act, inputs, joint)
            enter(nets.cell, now, sample, inputs)
            mix(nets.cell, now, inputs, joint)
            gates_of(nets.cell, joint, scratch[0])
            gate(now, scratch[0], len(nets.cell.gates))
            latent = network(nets.prior, nets.prior_out, now, scratch, first, None)
            gather(noise[step], first, uniform)
            draw(latent, uniform[:latents], classes, sample)
