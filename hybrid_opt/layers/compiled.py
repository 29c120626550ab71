"""Circuits of plans, forward and backward, a block of LANES rows at a time: the compiled engine in float32.

An entangler moves no amplitude: `places[s]` says where slot s finds each one, and what signs it left are applied when
the next slot first loads them. Without a start, the first slot builds a product state by doubling.

The adjoint method (Jones and Gacon 2020, arXiv:2009.02823) takes state and dual back through the circuit together. In
the basis (1, iZ, -iY, iX) a gate U has the gradient m U, where m = Re <dual|basis|state> behind the gate. No unitary
changes the first entry of m, so one number serves all gates.

Shapes: N rows, S slots, n qubits, P phased slots. Blocks are numbered, and their arrays end with LANES.
"""

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.layers import passes
from hybrid_opt.layers.passes import (
    LANES,
    ROW,
    double,
    double_beyond,
    fold,
    halve,
    shift,
    square,
    turn,
    unfold,
    unshift,
    unturn,
    weigh,
)
from hybrid_opt.simd import registers

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]
compiled = registers.cached(registers, passes)
Z, ZZ, PROBABILITIES = 0, 1, 2  # what is read out


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
    qubits: int,
    readout: int,
    places: Integers,
    signs: Floats,
    signed: Integers,
    phased: Integers,
    gates: Floats,
    phases: Floats,
    start: Floats,
    out: Floats,
    saved: Floats,
    begin: int,
    end: int,
) -> None:
    """Read out the circuits of the rows of blocks `begin` to `end`, and keep their last states.

    Args:
        places: [S + 1, 2^n], where each slot and the readout find the amplitudes, in bytes.
        signs: [S, 2^n], with which a slot first multiplies them, if `signed` [S] is 1.
        phased: [S], the number of a slot's phases, or -1.
        gates: [N, S n 4]. phases: [N, P 2^n]. start: [N, 2 2^n], or [0, 0] for |0...0>.
        out: [N, outputs], written. saved: [blocks 2^n 2, LANES], written. [0, LANES]: states are not kept.
    """
    size = 1 << qubits
    gate, phase = _aligned(gates.shape[1]), _aligned(max(1, phases.shape[1]))
    state, sums, last, means = _aligned(2 * size), _aligned(size), _aligned(size), _aligned(2 * qubits)
    v, mean = sums.ctypes.data, means.ctypes.data
    for block in range(begin, end):
        row, first = block * LANES, 0
        if len(saved):
            state = saved[2 * size * block : 2 * size * (block + 1)]
        x = state.ctypes.data
        _gather(gates, row, gate)
        if phases.shape[1]:
            _gather(phases, row, phase)
        if start.shape[1] == 0 and phased[0] < 0:
            state[0], state[1] = 1.0, 0.0
            for q in range(qubits):
                double(x, gate[4 * q :].ctypes.data, 1 << q)
            first = 1
        else:
            _first(start, row, state)
        for s in range(first, len(signs)):
            at, due = places[s].ctypes.data, signs[s].ctypes.data if signed[s] else 0
            if phased[s] >= 0:
                shift(x, at, signs[s].ctypes.data, phase[phased[s] * size :].ctypes.data, size)
                due = 0
            for q in range(qubits):
                turn(x, at, due, gate[4 * (s * qubits + q) :].ctypes.data, q, size >> 1)
                due = 0
        square(x, places[len(signs)].ctypes.data, v, size)
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
    qubits: int,
    readout: int,
    places: Integers,
    signs: Floats,
    signed: Integers,
    phased: Integers,
    gates: Floats,
    phases: Floats,
    product: bool,
    saved: Floats,
    grads: Floats,
    at_gates: Floats,
    at_phases: Floats,
    at_start: Floats,
    begin: int,
    end: int,
) -> None:
    """Take the gradients [N, outputs] at what `forward` read out back through the circuits.

    Args:
        product: whether they began with |0...0>. saved: as `forward` left it, which is only read.
        at_gates, at_phases, at_start: gradients of the arguments of `forward`, written; those of no rows are not.
    """
    size, slots = 1 << qubits, len(signs)
    gate, phase = _aligned(gates.shape[1]), _aligned(max(1, phases.shape[1]))
    state, dual, weights, norms = _aligned(2 * size), _aligned(2 * size), _aligned(size), _aligned(1)
    gate_grad, phase_grad, grad = _aligned(gates.shape[1]), _aligned(max(1, phases.shape[1])), _aligned(grads.shape[1])
    x, u, norm = state.ctypes.data, dual.ctypes.data, norms.ctypes.data
    doubled = product and phased[0] < 0
    for block in range(begin, end):
        row = block * LANES
        _gather(gates, row, gate)
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
        _scatter(gate_grad, row, at_gates)
        if len(at_phases):
            _scatter(phase_grad, row, at_phases)
        for lane in range(min(LANES, len(at_start) - row)):
            for k in range(size):
                at_start[row + lane, k], at_start[row + lane, size + k] = dual[2 * k, lane], dual[2 * k + 1, lane]
