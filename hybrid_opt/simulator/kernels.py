"""QAOA with the X mixer on 2^n amplitudes in few passes over memory: compiled kernels without the interpreter's lock.

Amplitudes are N = 2^n: the `low` bits lie in a block that fits the first-level cache, the `high` bits tell its number.
A pass takes blocks (all low bits of one high part) or tiles (all high bits of a few low parts), and applies everything
it can before it gives them back: the rotation that is still due for layer l, the phase of layer l + 1, and that
layer's rotation of the same bits. So a circuit of p layers takes p + 1 passes, in turns over blocks and over tiles.
Where there are no high bits, one pass does it all.

Rotations by tangents lack the factor cos(beta)^n; the phase before them brings it. The adjoint method (Jones and Gacon
2020) takes the ket and the bra back through the circuit together, in p + 1 passes too.

Shapes: B states of p layers. re, im, bra_re, bra_im: [B, N], aligned to 64 bytes. costs: [1 or B, N]; costs[row] and
mirrored[row] are the same energies by rising and by falling basis state. layers: [B, p + 1, 5], of each layer gamma / 2
pi, tan(beta), the factor of its phase (of the first: times 2^(-n/2)), cos(beta)^n and whether the basis states are
inverted there; the last row is that of the end. scratch: [scratch_size], aligned. A call does the states of
range(*rows) and, of each, the passes of range(*passes), and in each of these share `part` of `parts`.
"""

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.simd import registers
from hybrid_opt.simulator import vectors
from hybrid_opt.simulator.vectors import phase, rotate, start, unphase, unrotate, weigh

Reals = NDArray[np.floating]
compiled = registers.cached(registers, vectors)


@compiled
def geometry(bits: int, size: int) -> tuple[int, int, int]:
    """Low bits, high bits, and the width of a tile in bytes, of a state of elements of `size` bytes."""
    low = min(bits, 12 if size == 4 else 11)
    high = bits - low
    return low, high, min(size << low, max(64, (1 << 17) >> high))


@compiled
def _rotate_rows(
    source: int, stride: int, middle: int, between: int, target: int, to: int, bits: int, t: float, width: int
) -> None:
    """Rotate the bits of the row number of `width` bytes a row, on their way from source over middle to target."""
    done = 0
    while done < bits:
        some = min(4, bits - done)
        a, a_step, b, b_step = middle, between, middle, between
        if done == 0:
            a, a_step = source, stride
        if done + some == bits:
            b, b_step = target, to
        for number in range(1 << (bits - some)):
            row = ((number >> done) << (done + some)) + (number & ((1 << done) - 1))
            x, y = a + row * a_step, b + row * b_step
            if some == 4:
                rotate(16, False, x, a_step << done, y, b_step << done, t, 64, width // 64)
            elif some == 3:
                rotate(8, False, x, a_step << done, y, b_step << done, t, 64, width // 64)
            elif some == 2:
                rotate(4, False, x, a_step << done, y, b_step << done, t, 64, width // 64)
            else:
                rotate(2, False, x, a_step << done, y, b_step << done, t, 64, width // 64)
        done += some


@compiled
def _unrotate_rows(
    x: int,
    u: int,
    stride: int,
    ket: int,
    bra: int,
    between: int,
    y: int,
    v: int,
    to: int,
    bits: int,
    t: float,
    width: int,
) -> float:
    """Rotate ket and bra, on their way from (x, u) over (ket, bra) to (y, v); their overlap over these bits."""
    done, total = 0, 0.0
    while done < bits:
        some = min(3, bits - done)
        a, b, step, c, d, c_step = ket, bra, between, ket, bra, between
        if done == 0:
            a, b, step = x, u, stride
        if done + some == bits:
            c, d, c_step = y, v, to
        for _ in range(some):
            total *= 1.0 + float(t) ** 2
        for number in range(1 << (bits - some)):
            row = ((number >> done) << (done + some)) + (number & ((1 << done) - 1))
            i, k, far, wide = row * step, row * c_step, step << done, c_step << done
            if some == 3:
                total += unrotate(8, False, a + i, b + i, far, c + k, d + k, wide, t, 64, width // 64)
            elif some == 2:
                total += unrotate(4, False, a + i, b + i, far, c + k, d + k, wide, t, 64, width // 64)
            else:
                total += unrotate(2, False, a + i, b + i, far, c + k, d + k, wide, t, 64, width // 64)
        done += some
    return total


@compiled
def _rotate_block(x: int, low: int, t: float, size: int) -> None:
    """Rotate all bits of a block: those of the lanes with 4 more, then the others."""
    first = 8 if size == 4 else 7
    rotate(16, True, x, 64, x, 64, t, 1024, 1 << (low - first))
    row = size << first
    _rotate_rows(x, row, x, row, x, row, low - first, t, row)


@compiled
def _unrotate_block(x: int, u: int, low: int, t: float, size: int) -> float:
    """Rotate all bits of a block of ket and bra; their overlap over these bits."""
    first = 7 if size == 4 else 6
    total: float = unrotate(8, True, x, u, 64, x, u, 64, t, 512, 1 << (low - first))
    for _ in range(low - first):
        total *= 1.0 + float(t) ** 2
    row = size << first
    total += _unrotate_rows(x, u, row, x, u, row, x, u, row, low - first, t, row)
    return total


@compiled
def forward(
    re: Reals,
    im: Reals,
    costs: Reals,
    mirrored: Reals,
    layers: Reals,
    bits: int,
    scratch: Reals,
    rows: tuple[int, int],
    passes: tuple[int, int],
    part: int,
    parts: int,
) -> None:
    """The states of the circuits, from nothing."""
    size, p = re.itemsize, layers.shape[1] - 1
    low, high, width = geometry(bits, size)
    block, tiles, depth = size << low, (size << low) // width, 1 << high
    u, v = scratch.ctypes.data, scratch.ctypes.data + depth * width
    for state in range(rows[0], rows[1]):
        row_bytes, angles = state * (size << bits), layers[state]
        cost, other = costs.ctypes.data, mirrored.ctypes.data
        if len(costs) > 1:
            cost, other = cost + row_bytes, other + row_bytes
        for layer in range(passes[0] - 1, min(passes[1] - 1, p if high else 0)):
            following = layer + 1
            if layer % 2:
                for number in range((part << high) // parts, ((part + 1) << high) // parts):
                    offset = number * block
                    x, y = re.ctypes.data + row_bytes + offset, im.ctypes.data + row_bytes + offset
                    if layer >= 0:
                        _rotate_block(x, low, angles[layer, 1], size)
                        _rotate_block(y, low, angles[layer, 1], size)
                    for now in range(following, min(following + 1, p) if high else p):
                        z = (other if angles[now, 4] else cost) + offset
                        if now:
                            phase(x, y, z, angles[now, 0], angles[now, 2], block // 64)
                        else:
                            start(x, y, z, offset // 64, angles[0, 0], angles[0, 2], block // 64)
                        _rotate_block(x, low, angles[now, 1], size)
                        _rotate_block(y, low, angles[now, 1], size)
                continue
            for number in range(tiles * part // parts, tiles * (part + 1) // parts):
                offset, t = number * width, angles[layer, 1]
                x, y = re.ctypes.data + row_bytes + offset, im.ctypes.data + row_bytes + offset
                if following == p:
                    _rotate_rows(x, block, u, width, x, block, high, t, width)
                    _rotate_rows(y, block, v, width, y, block, high, t, width)
                    continue
                _rotate_rows(x, block, u, width, u, width, high, t, width)
                _rotate_rows(y, block, v, width, v, width, high, t, width)
                turns, t, scale = angles[following, 0], angles[following, 1], angles[following, 2]
                z = (other if angles[following, 4] else cost) + offset
                for row in range(depth):
                    phase(u + row * width, v + row * width, z + row * block, turns, scale, width // 64)
                _rotate_rows(u, width, u, width, x, block, high, t, width)
                _rotate_rows(v, width, v, width, y, block, high, t, width)


@compiled
def backward(
    re: Reals,
    im: Reals,
    bra_re: Reals,
    bra_im: Reals,
    costs: Reals,
    mirrored: Reals,
    goals: Reals,
    layers: Reals,
    bits: int,
    roofs: Reals,
    slope: float,
    scratch: Reals,
    totals: Reals,
    rows: tuple[int, int],
    passes: tuple[int, int],
    part: int,
    parts: int,
) -> None:
    """From the states back to the first ones; adds the values and half of their derivatives to `totals`.

    The value is that of slope * min(goal - roof, 0). goals: [1 or B, N], as the last row of the layers has the basis
    states. totals: float64 [B, 1 + 2p]: value, by gammas, by betas.
    """
    size, p = re.itemsize, layers.shape[1] - 1
    low, high, width = geometry(bits, size)
    block, tiles, depth = size << low, (size << low) // width, 1 << high
    ket_re, step = scratch.ctypes.data, depth * width
    ket_im, left_re, left_im = ket_re + step, ket_re + 2 * step, ket_re + 3 * step
    for state in range(rows[0], rows[1]):
        row_bytes, angles, total = state * (size << bits), layers[state], totals[state]
        cost, other, goal = costs.ctypes.data, mirrored.ctypes.data, goals.ctypes.data
        if len(costs) > 1:
            cost, other = cost + row_bytes, other + row_bytes
        if len(goals) > 1:
            goal += row_bytes
        for layer in range(p - passes[0], max(p - passes[1], -1 if high else p - 1), -1):
            begin, count = (part << high) // parts, ((part + 1) << high) // parts
            if (p - layer) % 2:
                begin, count = tiles * part // parts, tiles * (part + 1) // parts
            for number in range(begin, count):
                offset = row_bytes + number * (width if (p - layer) % 2 else block)
                x, y = re.ctypes.data + offset, im.ctypes.data + offset
                u, v = bra_re.ctypes.data + offset, bra_im.ctypes.data + offset
                offset -= row_bytes
                if (p - layer) % 2 == 0:
                    now = layer
                    if layer == p:
                        total[0] += weigh(x, y, goal + offset, u, v, roofs[state], slope, angles[p - 1, 3], block // 64)
                        now -= 1
                    while True:
                        t, z = -angles[now, 1], (other if angles[now, 4] else cost) + offset
                        overlap = _unrotate_block(x, u, low, t, size) + _unrotate_block(y, v, low, t, size)
                        if high and now < layer:
                            total[1 + p + now] += overlap * _lacking(t, high)
                            break
                        total[1 + p + now] += overlap
                        if now == 0:
                            total[1] += unphase(False, x, y, u, v, z, t, t, block // 64)
                            break
                        turns, scale = angles[now, 0], angles[now - 1, 3]
                        total[1 + now] += unphase(True, x, y, u, v, z, turns, scale, block // 64)
                        now -= 1
                    continue
                t, z = -angles[layer, 1], (other if angles[layer, 4] else cost) + offset
                overlap = _unrotate_rows(x, u, block, ket_re, left_re, width, ket_re, left_re, width, high, t, width)
                overlap += _unrotate_rows(y, v, block, ket_im, left_im, width, ket_im, left_im, width, high, t, width)
                total[1 + p + layer] += overlap
                turns, scale, columns = angles[layer, 0], angles[max(layer - 1, 0), 3], width // 64
                for row in range(depth):
                    a, there = row * width, z + row * block
                    b, c, d = a + step, a + 2 * step, a + 3 * step
                    a, b, c, d = ket_re + a, ket_re + b, ket_re + c, ket_re + d
                    if layer:
                        total[1 + layer] += unphase(True, a, b, c, d, there, turns, scale, columns)
                    else:
                        total[1] += unphase(False, a, b, c, d, there, turns, scale, columns)
                if layer:
                    t = -angles[layer - 1, 1]
                    overlap = _unrotate_rows(
                        ket_re, left_re, width, ket_re, left_re, width, x, u, block, high, t, width
                    )
                    overlap += _unrotate_rows(
                        ket_im, left_im, width, ket_im, left_im, width, y, v, block, high, t, width
                    )
                    total[p + layer] += overlap * _lacking(t, low)


@compiled
def _lacking(t: float, bits: int) -> float:
    """What makes up for the factors cos(beta) that ket and bra lack while `bits` are not yet rotated."""
    factor = 1.0
    for _ in range(bits):
        factor *= 1.0 + float(t) ** 2
    return factor
