"""The recurrent cell on the processor, compiled: a step of a tile of rows, and whole sequences with their way back."""

from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from hybrid_opt.simd import registers
from worldmodel.kernels import packing, tile_ops
from worldmodel.kernels.packing import PANEL, Array, Layer, Output, array, layer_of, output_of, packed, padded
from worldmodel.kernels.supported import exact
from worldmodel.kernels.tile_ops import (
    add_product,
    compiled,
    dense,
    draw,
    gate,
    gate_backward,
    gather,
    lanes_for,
    norm_silu,
    norm_silu_backward,
    reset,
    scatter,
    softmax_backward,
)
from worldmodel.model import categorical, layers
from worldmodel.model.categorical import UNIMIX
from worldmodel.model.cells.gru import BlockGRU, Gradients, Loops, Weights
from worldmodel.model.layers import Linear, NormAct
from worldmodel.model.rssm import RSSM

SOURCES = (registers, layers, packing, categorical, tile_ops)  # of the kernels
ONE = np.float32(1)
KEPT = np.float32(1 - UNIMIX)  # share of a categorical before its uniform mix


class Cell(NamedTuple):
    """The weights of a step, in panels; of blocks: the block axis first."""

    deter: Layer
    stoch: Layer
    mix_deter: Array
    mix_inputs: Array
    mix_scale: Array
    gates: Array
    gates_bias: Array
    post_deter: Array
    post_scale: Array
    post_out: Output


class Drive(NamedTuple):
    """What takes an action to its part of the inputs that are mixed, in panels."""

    layer: Layer
    out: Output


class Transposed(NamedTuple):
    """The same for the way back."""

    deter: Array
    stoch: Array
    scale: Array  # [2, H]
    mix_deter: Array
    mix_inputs: Array
    mix_scale: Array
    gates: Array
    post_deter: Array
    post_scale: Array
    post_out: Array


class Saved(NamedTuple):
    """What the way back needs of a sequence: rows before and after their norms, and gates, all [T, N, ...]."""

    pre: Array  # [T, N, 2 H]
    inputs: Array
    joint: Array  # [T, N, D]
    mixed: Array
    gates: Array  # [T, N, 3 D], those of a block together
    late: Array  # [T, N, H]
    hidden: Array


def _gru(rssm: RSSM) -> BlockGRU:
    """Its cell, which `has_kernels` has seen to be one."""
    return cast(BlockGRU, rssm.cell)


def cell_of(rssm: RSSM) -> Cell:
    """The weights of its cell and posterior, detached."""
    return packed_cell(Weights(**_gru(rssm).weights(), **rssm.posterior.weights()))


def packed_cell(w: Weights) -> Cell:
    """The same of weights in float32."""
    scale = array(w.scale)
    return Cell(
        (packed(w.deter.t()), padded(w.deter_bias), scale[0]),
        (packed(w.stoch.t()), padded(w.stoch_bias), scale[1]),
        packed(w.mix_deter.transpose(1, 2)),
        packed(w.mix_inputs.t()),
        array(w.mix_scale),
        packed(w.gates.transpose(1, 2)),
        padded(w.gates_bias.squeeze(1)),
        packed(w.post_deter.t()),
        array(w.post_scale),
        (packed(w.post_out.t()), padded(w.post_bias)),
    )


def drive_of(rssm: RSSM) -> Drive:
    """The weights of what actions drive its cell by, detached."""
    cell = _gru(rssm)
    linear, norm = cell.action_in
    assert isinstance(linear, Linear) and isinstance(norm, NormAct)
    return Drive(layer_of(linear, norm), output_of(cell.mix_action))


@compiled
def drive(weights: Drive, action: Array, inputs: Array, joint: Array) -> None:
    """The drive [D, LANES] of an action [A, LANES], which is scaled into the unit box; by way of inputs [H, LANES]."""
    action /= np.maximum(np.abs(action), ONE)
    dense(weights.layer[:2], action, inputs)
    norm_silu(inputs, weights.layer[2])
    dense(weights.out, inputs, joint)


@compiled
def enter(cell: Cell, deter: Array, stoch: Array, inputs: Array) -> None:
    """The inputs [2 H, LANES] before their norms; past them is room for a panel."""
    hidden = len(cell.deter[2])
    dense(cell.deter[:2], deter, inputs)
    dense(cell.stoch[:2], stoch, inputs[hidden:])


@compiled
def mix(cell: Cell, deter: Array, inputs: Array, joint: Array) -> None:
    """Norms of the inputs, which are then added to the drive [D, LANES] with each block's part of deter."""
    hidden, blocks = len(cell.deter[2]), len(cell.gates)
    norm_silu(inputs, cell.deter[2])
    norm_silu(inputs[hidden:], cell.stoch[2])
    add_product(cell.mix_inputs, inputs, joint)
    block = len(deter) // blocks
    for number in range(blocks):
        add_product(cell.mix_deter[number], deter[number * block :], joint[number * block :])


@compiled
def gates_of(cell: Cell, joint: Array, gates: Array) -> None:
    """The norm of what was mixed, and the gates [G 3 P, LANES]; past them is room for a panel."""
    norm_silu(joint, cell.mix_scale)
    blocks = len(cell.gates)
    block = len(cell.mix_scale) // blocks
    for number in range(blocks):
        weights = (cell.gates[number], cell.gates_bias[number])
        dense(weights, joint[number * block :], gates[3 * number * block :])


def observe(
    w: Weights, drive: Tensor, seen: Tensor, keep: Tensor, noise: Tensor, deter: Tensor, stoch: Tensor
) -> tuple[Tensor, Tensor, Tensor, Saved]:
    """What `Recurrence` computes, in float32 on the CPU, and what its way back needs."""
    (steps, rows, _, latents), (hidden, width), count = noise.shape, w.mix_inputs.shape, stoch.shape[1]
    deters, stochs, probs = (torch.empty(steps, rows, size) for size in (width, count, count))
    sizes = (hidden, hidden, width, width, 3 * width, hidden // 2, hidden // 2)
    saved = Saved(*(np.empty((steps, rows, size), np.float32) for size in sizes))
    inputs = (drive, seen, keep, noise.flatten(2), deter, stoch, deters, stochs, probs)
    _observe(packed_cell(w), count // latents, saved, *map(array, inputs))
    return deters, stochs.unflatten(-1, (-1, latents)), probs.unflatten(-1, (-1, latents)), saved


@registers.cached(*SOURCES, fastmath={"contract"})
def _observe(
    cell: Cell,
    classes: int,
    saved: Saved,
    drive: Array,
    seen: Array,
    keep: Array,
    noise: Array,
    deter: Array,
    stoch: Array,
    deters: Array,
    stochs: Array,
    probs: Array,
) -> None:
    steps, rows, width = drive.shape
    hidden, latents, count, wide = seen.shape[2], noise.shape[2], stoch.shape[1], lanes_for(rows)
    now, sample = np.empty((width, wide), np.float32), np.empty((count, wide), np.float32)
    inputs = np.empty((2 * hidden + PANEL, wide), np.float32)
    joint, gates = np.empty((width + PANEL, wide), np.float32), np.empty((3 * width + PANEL, wide), np.float32)
    late, logits = np.empty((hidden + PANEL, wide), np.float32), np.empty((count + PANEL, wide), np.float32)
    uniform, mask = np.empty((latents, wide), np.float32), np.empty((1, wide), np.float32)
    for first in range(0, rows, wide):
        gather(deter, first, now)
        gather(stoch, first, sample)
        for step in range(steps):
            gather(keep[step], first, mask)
            reset(now, mask)
            reset(sample, mask)
            enter(cell, now, sample, inputs)
            scatter(inputs, saved.pre[step], first)
            gather(drive[step], first, joint)
            mix(cell, now, inputs, joint)
            scatter(inputs, saved.inputs[step], first)
            scatter(joint, saved.joint[step], first)
            gates_of(cell, joint, gates)
            scatter(joint, saved.mixed[step], first)
            scatter(gates, saved.gates[step], first)
            gate(now, gates, len(cell.gates))
            scatter(now, deters[step], first)
            gather(seen[step], first, late)
            add_product(cell.post_deter, now, late)
            scatter(late, saved.late[step], first)
            norm_silu(late, cell.post_scale)
            scatter(late, saved.hidden[step], first)
            dense(cell.post_out, late, logits)
            gather(noise[step], first, uniform)
            draw(logits, uniform, classes, sample)
            scatter(sample, stochs[step], first)
            scatter(logits, probs[step], first)


def observe_backward(
    w: Weights, saved: Saved, keep: Tensor, before: Tensor, probs: Tensor, at_deters: Tensor, at_soft: Tensor
) -> Gradients:
    """The way back through `observe`. before [T, N, D]: deter as it entered each step; at_soft [T, N, K, S]."""
    back = Transposed(
        packed(w.deter),
        packed(w.stoch),
        array(w.scale),
        packed(w.mix_deter),
        packed(w.mix_inputs),
        array(w.mix_scale),
        packed(w.gates),
        packed(w.post_deter),
        array(w.post_scale),
        packed(w.post_out),
    )
    given = [torch.empty(part.shape) for part in (saved.pre, saved.joint, saved.gates, saved.late)]
    pre, joint, gates, seen, logits = *given, torch.empty(probs.flatten(2).shape)
    sums = [torch.zeros_like(scale) for scale in (w.scale, w.mix_scale, w.post_scale)]
    inputs = (keep, before, probs.flatten(2), at_deters, at_soft.flatten(2))
    outputs = (pre, joint, gates, seen, logits, *sums)
    _observe_backward(back, saved, probs.shape[2], *map(array, inputs), *map(array, outputs))
    rows, blocks = keep.shape[:2].numel(), len(w.gates)
    passed = (torch.from_numpy(part).flatten(0, 1) for part in (saved.inputs, saved.mixed, saved.hidden))
    at_pre, at_gates = pre.view(rows, 2, -1), gates.view(rows, blocks, -1)
    return Gradients(at_pre, joint.flatten(0, 1), at_gates, seen.flatten(0, 1), logits.flatten(0, 1), *sums, *passed)


@registers.cached(*SOURCES, fastmath={"contract"})
def _observe_backward(
    back: Transposed,
    saved: Saved,
    classes: int,
    keep: Array,
    before: Array,
    probs: Array,
    at_deters: Array,
    at_soft: Array,
    at_pre: Array,
    at_joint: Array,
    at_gates: Array,
    at_seen: Array,
    at_logits: Array,
    at_scale: Array,
    at_mix_scale: Array,
    at_post_scale: Array,
) -> None:
    steps, rows, width = before.shape
    hidden, count, blocks = at_seen.shape[2], probs.shape[2], len(back.gates)
    block, wide = width // blocks, lanes_for(rows)
    deter, joint = np.empty((width + PANEL, wide), np.float32), np.empty((width + PANEL, wide), np.float32)
    stoch, logits = np.empty((count + PANEL, wide), np.float32), np.empty((count, wide), np.float32)
    late, pre = np.empty((hidden + PANEL, wide), np.float32), np.empty((2 * hidden + PANEL, wide), np.float32)
    gates = np.empty((3 * width, wide), np.float32)
    given = np.empty((max(width, 2 * hidden, count), wide), np.float32)
    mask = np.empty((1, wide), np.float32)
    scale, mix_scale = np.zeros((2 * hidden, wide), np.float32), np.zeros((width, wide), np.float32)
    post_scale = np.zeros((hidden, wide), np.float32)
    for first in range(0, rows, wide):
        deter[:] = 0.0
        stoch[:] = 0.0
        for step in range(steps - 1, -1, -1):
            gather(at_soft[step], first, logits)
            logits += stoch[:count]
            gather(probs[step], first, given)
            softmax_backward(logits, given[:count], classes)
            scatter(logits, at_logits[step], first)
            late[:] = 0.0
            add_product(back.post_out, logits, late)
            gather(saved.late[step], first, given)
            norm_silu_backward(late, given, back.post_scale, post_scale)
            scatter(late, at_seen[step], first)
            gather(at_deters[step], first, given)
            deter[:width] += given[:width]
            add_product(back.post_deter, late, deter)
            gather(before[step], first, given)
            gather(saved.gates[step], first, gates)
            gate_backward(deter[:width], given[:width], gates, blocks)
            scatter(gates, at_gates[step], first)
            joint[:] = 0.0
            for number in range(blocks):
                add_product(back.gates[number], gates[3 * number * block :], joint[number * block :])
            gather(saved.joint[step], first, given)
            norm_silu_backward(joint, given, back.mix_scale, mix_scale)
            scatter(joint, at_joint[step], first)
            pre[:] = 0.0
            add_product(back.mix_inputs, joint, pre)
            gather(saved.pre[step], first, given)
            norm_silu_backward(pre, given, back.scale[0], scale)
            norm_silu_backward(pre[hidden:], given[hidden:], back.scale[1], scale[hidden:])
            scatter(pre, at_pre[step], first)
            add_product(back.deter, pre, deter)
            for number in range(blocks):
                add_product(back.mix_deter[number], joint[number * block :], deter[number * block :])
            stoch[:] = 0.0
            add_product(back.stoch, pre[hidden:], stoch)
            gather(keep[step], first, mask)
            stoch *= KEPT
            reset(deter, mask)
            reset(stoch, mask)
    at_scale += scale.sum(1).reshape(2, hidden)
    at_mix_scale += mix_scale.sum(1)
    at_post_scale += post_scale.sum(1)


LOOPS = Loops(exact, observe, observe_backward)
