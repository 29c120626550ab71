"""Imagined rollouts on the processor in compiled code: all steps of a tile of rows while its state is in the caches.

Heads that have no kernel are called between: an actor or a prior in each step, the others once, after the last.
"""

from collections.abc import Callable
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
from worldmodel.model.batch import AnyState, Imagined
from worldmodel.model.categorical import one_hot_sample
from worldmodel.model.heads.head import Head
from worldmodel.model.world_model import WorldModel

LEAST, MOST = np.float32(STD[0]), np.float32(STD[1])
ONE, TWO = np.float32(1), np.float32(2)


class Own(NamedTuple):
    """Which heads the kernel has: 1; what the others give is found outside."""

    prior: int
    actor: int
    reward: int
    live: int
    slow: int
    critic: int


class Networks(NamedTuple):
    """Weights, in panels; of heads that the kernel has not, panels of the same types."""

    own: Own

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
    model: WorldModel, behavior: ActorCritic, start: AnyState, noise: Tensor, chance: Tensor, threads: int = 1
) -> Imagined:
    """Roll the prior out under the actor, in float32 on the CPU.

    start [N]; noise [H, N, 1, S], uniform; chance [H, N, ...], as `Actor.noise` gives it; threads: that share the rows.
    """
    (steps, rows), size, bins = chance.shape[:2], model.rssm.size, len(model.twohot.bins)
    actor, critic, networks = behavior.actor, behavior.critic, _networks(model, behavior)
    own, read, outputs = networks.own, model.memory.frozen(start), (size.stoch * size.classes, bins, actor.outputs)
    feature, action = torch.empty(steps + 1, rows, size.feature), torch.empty(steps, rows, actor.spec.width)
    reward, live, slow = (torch.empty(steps + 1 - late, rows) for late in (0, 0, 1))
    logits, raw = torch.empty(steps + 1, rows, bins), torch.empty(steps, rows, outputs[-1])
    layers = (len(networks.critic), len(networks.actor))
    passed = [torch.empty(count, steps + 1 - late, rows, size.units) for late, count in enumerate(layers)]
    inputs = (start.deter, start.stoch.flatten(1), noise.flatten(2), chance)
    arrays = [array(x) for x in (*inputs, feature, action, reward, live, slow, logits, raw, *passed)]
    widest = max(3 * size.deter, size.hidden, size.units, *outputs)
    discrete = actor.spec.kind == "discrete"
    sizes = np.array(actor.spec.sizes if discrete else (), np.int64)
    tiles = -(-rows // LANES)

    def roll(since: int, until: int) -> None:
        """Do the steps from `since` on, before `until`."""

        def share(part: int) -> None:
            begin, end = (min(rows, LANES * (tiles * number // threads)) for number in (part, part + 1))
            _roll(networks, sizes, size.classes, widest, begin, end, since, until, *arrays)

        in_threads(share, threads)

    context = torch.empty(steps + 1, rows, model.memory.width) if read else None
    if own.actor and own.prior:
        roll(0, steps + 1)
    else:
        _roll_in_steps(model, behavior, own, start, noise, feature, raw, roll, context, read)
    if context is not None:
        feature = torch.cat([feature, context], -1)
    with torch.no_grad():
        if not own.reward:
            reward = model.twohot.mean(model.reward(feature))
        if not own.live:
            live = model.continuation(feature).squeeze(-1).sigmoid()
        if not own.slow:
            slow = model.twohot.mean(behavior.slow_critic(feature[:-1]))
    feature = model.memory.reread(feature, read)
    logits = head(critic, feature, passed[0], logits, threads) if own.critic else critic(feature)
    raw = head(actor.net, feature[:-1], passed[1], raw, threads) if own.actor else actor.net(feature[:-1])
    return Imagined(feature, action, reward, live, slow, logits, raw)


@torch.no_grad()
def _roll_in_steps(
    model: WorldModel,
    behavior: ActorCritic,
    own: Own,
    start: AnyState,
    noise: Tensor,
    feature: Tensor,
    raw: Tensor,
    roll: Callable[[int, int], None],
    context: Tensor | None,
    read: Callable[[Tensor], Tensor] | None,
) -> None:
    """Roll out with an actor or a prior that the kernel has not. context [H + 1, N, V]: what is read by the way."""
    torch.cat([start.deter, start.stoch.flatten(1)], -1, out=feature[0])
    if context is not None:
        context[0] = start.feature[:, feature.shape[-1] :]
    for step in range(len(raw)):
        if not own.actor:
            seen = feature[step] if context is None else torch.cat([feature[step], context[step]], -1)
            raw[step] = behavior.actor.net(seen)
        roll(step, step + 1)
        if not own.prior:
            state = model.rssm.split(feature[step + 1])
            one_hot_sample(model.rssm.prior(state.deter), noise[step], -2, state.stoch)
        if context is not None and read:
            context[step + 1] = read(feature[step + 1])
    roll(len(raw), len(raw) + 1)


def _networks(model: WorldModel, behavior: ActorCritic) -> Networks:
    rssm, bins = model.rssm, model.twohot.bins
    heads: list[Head] = [rssm.prior_net, behavior.actor.net, model.reward, model.continuation]
    heads += behavior.slow_critic, behavior.critic
    # the kernel reads no memory: with one, it has the prior alone
    has = [part.compiled and not (number and model.memory.width) for number, part in enumerate(heads)]
    return Networks(
        Own(*map(int, has)),
        drive_of(rssm),
        cell_of(rssm),
        *_weights(rssm.prior_net, 2, has[0]),
        *_weights(behavior.actor.net, 3, has[1]),
        *_weights(model.reward, 1, has[2]),
        *_weights(model.continuation, 1, has[3]),
        *_weights(behavior.slow_critic, 3, has[4]),
        *_weights(behavior.critic, 3, has[5]),
        array(bins[len(bins) // 2 + 1 :]),
    )


def _weights(part: Head, layers: int, has: bool) -> tuple[tuple[Layer, ...], Output]:
    """The weights of a head; if the kernel has none, empty ones in as many layers as its twin has: of the same type."""
    if has:
        return head_of(part)  # type: ignore[arg-type]
    nothing = np.zeros((0, 0, PANEL), np.float32), np.zeros(0, np.float32)
    return ((*nothing, nothing[1]),) * layers, nothing


@registers.cached(*SOURCES, rssm_sequence, actor_module, fastmath={"contract"})
def _roll(
    nets: Networks,
    sizes: NDArray[np.int64],
    classes: int,
    widest: int,
    begin: int,
    end: int,
    since: int,
    until: int,
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
    """Roll out the tiles of the rows from `begin` on, before `end`, in the steps from `since` on, before `until`.

    widest: of all layers. The features of step `since` are there unless it is 0; those of step `until` are left there.
    """
    steps, rows, width = actions.shape
    deters, latents, hidden = deter.shape[1], stoch.shape[1] // classes, len(nets.cell.deter[2])
    own, wide = nets.own, lanes_for(rows)
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
        if since == 0:
            gather(deter, first, now)
            gather(stoch, first, sample)
        else:
            gather(features[since], first, feature)
        for step in range(since, until):
            scatter(feature, features[step], first)
            if own.reward:
                mean(network(nets.reward, nets.reward_out, feature, scratch, first, None), nets.bins, found)
                rewards[step, first : first + count] = found[:count]
            if own.live:
                logit = network(nets.live, nets.live_out, feature, scratch, first, None)[0]
                lives[step, first : first + count] = (ONE / (ONE + np.exp(-logit)))[:count]
            if own.critic:
                value = network(nets.critic, nets.critic_out, feature, scratch, first, critic_pre[:, step])
                scatter(value, logits[step], first)
            if step == steps:
                break
            if own.slow:
                mean(network(nets.slow, nets.slow_out, feature, scratch, first, None), nets.bins, found)
                slows[step, first : first + count] = found[:count]
            raw = scratch[0]
            if own.actor:
                raw = network(nets.actor, nets.actor_out, feature, scratch, first, actor_pre[:, step])
                scatter(raw, raws[step], first)
            else:
                gather(raws[step], first, raw)
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
            if own.prior:
                latent = network(nets.prior, nets.prior_out, now, scratch, first, None)
                gather(noise[step], first, uniform)
                draw(latent, uniform[:latents], classes, sample)
        if until <= steps:
            scatter(feature, features[until], first)
