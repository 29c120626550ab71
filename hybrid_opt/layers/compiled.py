"""Circuits of plans, forward and backward, a block of LANES rows at a time: the compiled engine in float32.

An entangler moves no amplitude: `places[s]` says where slot s finds each one, and what signs it left are applied when
the next slot first loads them. Without a start, the first slot builds a product state by doubling.

The adjoint method (Jones and Gacon 2020, arXiv:2009.02823) takes state and dual back through the circuit together. In
the basis (1, iZ, -iY, iX) a gate U has the gradient m U, where m = Re <dual|basis|state> behind the gate. No unitary
changes the first entry of m, so one number serves all gates.

Shapes: N rows, S slots, n qubits, P phased slots. Blocks are numbered, and their arrays end with LANES.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.layers import lanes, passes, slots
from hybrid_opt.layers.lanes import LANES, ROW
from hybrid_opt.layers.passes import (
    add,
    double,
    double_beyond,
    fold,
    half_circle,
    halve,
    rotate,
    share,
    shift,
    square,
    turn,
    unfold,
    unrotate,
    unshift,
    unturn,
    weigh,
)
from hybrid_opt.layers.slots import CONSTANTS
from hybrid_opt.simd import registers

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int32]
compiled = registers.cached(registers, lanes, passes, slots)
Z, ZZ, PROBABILITIES = 0, 1, 2  # what is read out
CHUNK = 8  # blocks whose shared gradients are added up in turn


class Tables(NamedTuple):
    """A plan as the kernels read it."""

    qubits: int
    readout: int
    places: Integers  # [S + 1, 2^n], where each slot and the readout find the amplitudes, in bytes
    signs: Floats  # [S, 2^n], with which a slot first multiplies them
    signed: Integers  # [S], 1 where signs matter
    phased: Integers  # [S], the number of a slot's phases, or -1


class Chains(NamedTuple):
    """Rotations of each gate, in order: [D, S n]."""

    axes: Integers  # X, Y, Z: 1, 2, 3; 0 where there is none
    places: Integers  # of their angles


class Gates(NamedTuple):
    """The gates of rows: given, or the rows' own rotations, and after them others that they share."""

    given: Floats  # [N, S n 4], or [0, 0]
    own: Chains
    angles: Floats  # [N, R], or what they are multiples of, [N, I]; or [0, 0]
    origin: Integers  # [R], of what angle r is scale[r] times; or [0]
    scale: Floats  # [R], or [0]
    shared: Chains
    trained: Floats  # [W], or [0]


@compiled
def _gather(rows: Floats, first: int, tile: Floats) -> None:
    """Numbers of rows [N, F] from `first` on into a tile [F, LANES]; zeros past the last row."""
    count, width = min(LANES, len(rows) - first), rows.shape[1]
    if count < LANES:
        tile[:width] = 0.0
    for lane in range(count):
        row = rows[first + lane]
        for feature in range(width):
            tile[feature, lane] = row[feature]


@compiled
def _scatter(tile: Floats, first: int, rows: Floats) -> None:
    """A tile's numbers into rows [N, F] from `first` on, as far as there are rows."""
    for lane in range(min(LANES, len(rows) - first)):
        row = rows[first + lane]
        for feature in range(rows.shape[1]):
            row[feature] = tile[feature, lane]


@compiled
def _aligned(size: int) -> Floats:
    """A tile [size, LANES] that begins with a line of the cache."""
    memory = np.empty(size * LANES + 16, np.float32)
    begin = (-memory.ctypes.data % 64) // 4
    return memory[begin : begin + size * LANES].reshape(size, LANES)


@compiled
def _turn(gates: Doubles, number: int, angle: float, axis: int) -> None:
    """Put a rotation in front of a gate: `passes.rotate`."""
    if axis:
        cosine, sine, across = math.cos(0.5 * angle), math.sin(0.5 * angle), _across(gates, number, axis)
        for part in range(4):
            gates[number, part] = cosine * gates[number, part] + sine * across[part]


@compiled
def _across(gates: Doubles, number: int, axis: int) -> tuple[float, float, float, float]:
    """A gate times -iX, -iY, -iZ."""
    a, b, c, d = gates[number, 0], gates[number, 1], gates[number, 2], gates[number, 3]
    if axis == 1:
        return d, c, -b, -a
    if axis == 2:
        return -c, d, a, -b
    return b, -a, d, -c


@compiled
def _angle(trained: Floats, place: int) -> float:
    """A trained angle, or one of the constants that follow them."""
    return trained[place] if place < len(trained) else CONSTANTS[place - len(trained)]


@compiled
def _products(gates: Gates) -> Doubles:
    """The gates [S n, 4] that rows share."""
    axes, places = gates.shared
    found = np.zeros((axes.shape[1], 4))
    found[:, 0] = 1.0
    for number in range(len(found)):
        for depth in range(len(axes) - 1, -1, -1):
            _turn(found, number, _angle(gates.trained, places[depth, number]), axes[depth, number])
    return found


@compiled
def _shared(gates: Gates) -> Floats:
    """The gates [S n 4] that rows share."""
    found: Floats = _products(gates).astype(np.float32).ravel()
    return found


@compiled
def _enter(
    gates: Gates, shared: Floats, row: int, inputs: Floats, angles: Floats, halves: Floats, tile: Floats
) -> None:
    """Write the gates [S n 4, LANES] of a block; angles [R, LANES] and halves [2 R, LANES] are those of rotations.

    shared: [S n 4], what rows share. inputs: [I, LANES], what angles are multiples of.
    """
    if len(gates.given):
        _gather(gates.given, row, tile)
        return
    if len(gates.scale):
        _gather(gates.angles, row, inputs)
        for r in range(len(angles)):
            for lane in range(LANES):
                angles[r, lane] = inputs[gates.origin[r], lane] * gates.scale[r]
    else:
        _gather(gates.angles, row, angles)
    half_circle(angles.ctypes.data, halves.ctypes.data, len(angles))
    share(shared.ctypes.data, tile.ctypes.data, len(tile))
    axes, places = gates.own
    for depth in range(len(axes) - 1, -1, -1):
        for number in range(axes.shape[1]):
            half = halves[2 * places[depth, number] :].ctypes.data
            rotate(tile[4 * number :].ctypes.data, half, axes[depth, number])


@compiled
def _leave(
    gates: Gates, tile: Floats, grad: Floats, inputs: Floats, halves: Floats, at_angles: Floats, total: Floats
) -> None:
    """Take the gradients [S n 4, LANES] of a block's gates to angles [R, LANES], or on to inputs [I, LANES].

    The rest is added to those of shared gates, and of scales, [S n 4 + R, LANES].
    """
    at_angles[:] = 0.0
    axes, places = gates.own
    for depth in range(len(axes)):
        for number in range(axes.shape[1]):
            if axes[depth, number]:
                gate, given, place = tile[4 * number :], grad[4 * number :], places[depth, number]
                there, half = at_angles[place:].ctypes.data, halves[2 * place :].ctypes.data
                unrotate(gate.ctypes.data, given.ctypes.data, half, axes[depth, number], there)
    add(grad.ctypes.data, total.ctypes.data, len(grad))
    if len(gates.scale):
        for r in range(len(at_angles)):
            for lane in range(LANES):
                total[len(grad) + r, lane] += at_angles[r, lane] * inputs[gates.origin[r], lane]
        inputs[:] = 0.0
        for r in range(len(at_angles)):
            for lane in range(LANES):
                inputs[gates.origin[r], lane] += at_angles[r, lane] * gates.scale[r]


@compiled
def _first(start: Floats, row: int, state: Floats) -> None:
    """Write the first states of the rows from number `row` on as a block's [2^n 2, LANES]; start [0, 0]: |0...0>."""
    size = len(state) // 2
    state[:] = 0.0
    if start.shape[1] == 0:
        state[0] = 1.0
    for lane in range(min(LANES, len(start) - row)):
        for k in range(size):
            state[2 * k, lane], state[2 * k + 1, lane] = start[row + lane, k], start[row + lane, size + k]


@compiled
def forward(
    tables: Tables, gates: Gates, phases: Floats, start: Floats, out: Floats, saved: Floats, begin: int, end: int
) -> None:
    """Read out the circuits of the rows of blocks `begin` to `end`, and keep their last states.

    Args:
        phases: [N, P 2^n]. start: [N, 2 2^n], or [0, 0] for |0...0>.
        out: [N, outputs], written. saved: [blocks 2^n 2, LANES], written. [0, LANES]: states are not kept.
    """
    qubits, readout, places, signs, signed, phased = tables
    size, slots = 1 << qubits, len(signs)
    gate, phase = _aligned(4 * slots * qubits), _aligned(max(1, phases.shape[1]))
    turns, inputs = len(gates.scale) or gates.angles.shape[1], _aligned(gates.angles.shape[1])
    angles, halves = _aligned(turns), _aligned(2 * turns)
    state, sums, last, means = _aligned(2 * size), _aligned(size), _aligned(size), _aligned(2 * qubits)
    shared = _shared(gates)
    for block in range(begin, end):
        row, first = block * LANES, 0
        v, mean = sums.ctypes.data, means.ctypes.data  # here, so that the arrays are kept to the last block
        if len(saved):
            state = saved[2 * size * block : 2 * size * (block + 1)]
        x = state.ctypes.data
        _enter(gates, shared, row, inputs, angles, halves, gate)
        if phases.shape[1]:
            _gather(phases, row, phase)
        if start.shape[1] == 0 and phased[0] < 0:
            state[0], state[1] = 1.0, 0.0
            for q in range(qubits):
                double(x, gate[4 * q :].ctypes.data, 1 << q)
            first = 1
        else:
            _first(start, row, state)
        for s in range(first, slots):
            at, due = places[s].ctypes.data, signs[s].ctypes.data if signed[s] else 0
            if phased[s] >= 0:
                shift(x, at, signs[s].ctypes.data, phase[phased[s] * size :].ctypes.data, size)
                due = 0
            for q in range(qubits):
                turn(x, at, due, gate[4 * (s * qubits + q) :].ctypes.data, q, size >> 1)
                due = 0
        square(x, places[slots].ctypes.data, v, size)
        if readout == PROBABILITIES:
            _scatter(sums, row, out)
            continue
        for q in range(qubits):
            if readout == Z:
                fold(v, 0, mean + q * ROW, 0, size >> (q + 1))
            else:
                both = mean + (qubits + q - 1) * ROW if q else 0
                fold(v, last.ctypes.data, mean + q * ROW, both, size >> (q + 1))
        _scatter(means, row, out)


@compiled
def _weights(qubits: int, readout: int, grads: Floats, weights: Floats) -> None:
    """Write what each basis state's probability adds, [2^n, LANES]; grads [outputs, LANES] at the means."""
    w, grad = weights.ctypes.data, grads.ctypes.data
    weights[0] = 0.0
    for q in range(qubits):
        count, z = 1 << q, grad + q * ROW
        if readout == Z or q == 0:
            unfold(w, z, 0, 1, count, count * ROW)
        else:
            zz, half = grad + (qubits + q - 1) * ROW, count >> 1
            unfold(w, z, zz, 1, half, count * ROW)
            unfold(w + half * ROW, z, zz, -1, half, count * ROW)


@compiled
def backward(
    tables: Tables,
    gates: Gates,
    phases: Floats,
    product: bool,
    saved: Floats,
    grads: Floats,
    at_gates: Floats,
    at_angles: Floats,
    at_shared: Floats,
    at_phases: Floats,
    at_start: Floats,
    begin: int,
    end: int,
) -> None:
    """Take the gradients [N, outputs] at what `forward` read out back through the circuits of chunks of blocks.

    Args:
        product: whether they began with |0...0>. saved: as `forward` left it, which is only read.
        at_gates, at_angles, at_phases, at_start: gradients of the rows, written; those of no rows are not.
        at_shared: [chunks (S n 4 + R), LANES], those of shared gates and of scales: what `unchained` takes.
    """
    qubits, readout, places, signs, signed, phased = tables
    size, slots = 1 << qubits, len(signs)
    width, turns = 4 * slots * qubits, len(gates.scale) or gates.angles.shape[1]
    inputs, total = _aligned(gates.angles.shape[1]), width + len(gates.scale)
    gate, phase = _aligned(width), _aligned(max(1, phases.shape[1]))
    angles, halves = _aligned(turns), _aligned(2 * turns)
    state, dual, weights, norms = _aligned(2 * size), _aligned(2 * size), _aligned(size), _aligned(1)
    gate_grad, phase_grad, grad = _aligned(width), _aligned(max(1, phases.shape[1])), _aligned(grads.shape[1])
    doubled, shared = product and phased[0] < 0, _shared(gates)
    for block in range(begin * CHUNK, min(end * CHUNK, -(-len(grads) // LANES))):
        row = block * LANES
        x, u, norm = state.ctypes.data, dual.ctypes.data, norms.ctypes.data  # kept, as above
        _enter(gates, shared, row, inputs, angles, halves, gate)
        _gather(grads, row, grad)
        if phases.shape[1]:
            _gather(phases, row, phase)
        w = grad.ctypes.data
        if readout != PROBABILITIES:
            _weights(qubits, readout, grad, weights)
            w = weights.ctypes.data
        weigh(saved[2 * size * block :].ctypes.data, w, places[slots].ctypes.data, x, u, norm, size)
        for s in range(slots - 1, 0 if doubled else -1, -1):
            at, with_phases = places[s].ctypes.data, phased[s] >= 0
            for q in range(qubits - 1, -1, -1):
                due = signs[s].ctypes.data if signed[s] and q == 0 and not with_phases else 0
                number = 4 * (s * qubits + q)
                there = gate_grad[number:].ctypes.data
                unturn(x, u, at, due, gate[number:].ctypes.data, norm, there, q, size >> 1)
            if with_phases:
                there = phase_grad[phased[s] * size :].ctypes.data
                unshift(x, u, at, signs[s].ctypes.data, phase[phased[s] * size :].ctypes.data, there, size)
        if doubled:
            state[2], state[3] = 1.0, 0.0  # the state of q qubits is at 2^q
            for q in range(qubits - 1):
                count = 1 << q
                double_beyond(x + 2 * count * ROW, gate[4 * q :].ctypes.data, x + 4 * count * ROW, count)
            for q in range(qubits - 1, -1, -1):
                count = 1 << q
                there = gate_grad[4 * q :].ctypes.data
                halve(u, x + 2 * count * ROW, gate[4 * q :].ctypes.data, there, count)
        if len(gates.given):
            _scatter(gate_grad, row, at_gates)
        else:
            chunk = at_shared[total * (block // CHUNK) : total * (block // CHUNK + 1)]
            if block % CHUNK == 0:
                chunk[:] = 0.0
            _leave(gates, gate, gate_grad, inputs, halves, angles, chunk)
            _scatter(inputs if len(gates.scale) else angles, row, at_angles)
        if len(at_phases):
            _scatter(phase_grad, row, at_phases)
        for lane in range(min(LANES, len(at_start) - row)):
            for k in range(size):
                at_start[row + lane, k], at_start[row + lane, size + k] = dual[2 * k, lane], dual[2 * k + 1, lane]


@compiled
def unchained(gates: Gates, at_shared: Floats, at_trained: Floats, at_scale: Floats) -> None:
    """Write the gradients of trained angles [W] and of scales [R], from what `backward` wrote."""
    (axes, places), trained = gates.shared, gates.trained
    count = axes.shape[1]
    grads, found = np.zeros((count, 4)), np.zeros(len(trained) + len(CONSTANTS))
    sums = np.zeros(4 * count + len(gates.scale))
    for number in range(len(at_shared)):
        for lane in range(LANES):
            sums[number % len(sums)] += at_shared[number, lane]
    grads[:] = sums[: 4 * count].reshape(count, 4)
    at_scale[:] = sums[4 * count :]
    products = _products(gates)
    for number in range(count):
        for depth in range(len(axes)):
            axis, place = axes[depth, number], places[depth, number]
            if axis:
                across, total = _across(products, number, axis), 0.0
                for part in range(4):
                    total += 0.5 * across[part] * grads[number, part]
                found[place] += total
                angle = _angle(trained, place)
                _turn(products, number, -angle, axis)
                _turn(grads, number, -angle, axis)
    at_trained[:] = found[: len(trained)]
