"""Layers on the processor, row by row in the lanes of its vector registers: the operations of compiled kernels.

Operators of PyTorch take their inputs from memory and bring their results back, one after the other. Here a tile of
rows goes through a whole network while it stays in the nearest caches. Arrays of a tile are [F, LANES]: features first,
rows last, so that no operation reduces over lanes. Weights come in `panels`. Nothing here has a gradient.
"""

from collections.abc import Callable
from typing import Any

import numba

from hybrid_opt.simd.registers import BYTES, Decorator, Memory, Vector, routine, written
from worldmodel.kernels.packing import PANEL, Array, Layer, Output
from worldmodel.kernels.supported import REGISTER
from worldmodel.model.categorical import UNIMIX
from worldmodel.model.layers import EPS

NARROW, LANES = REGISTER, 2 * REGISTER  # rows of a tile, in one register or in two
compiled: Decorator = numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})


class Tile(Memory):
    """The memory of a kernel that is being written for tiles of so many registers for a feature."""

    def __init__(self, memory: Memory, registers: int) -> None:
        super().__init__(memory.builder, memory.kind.element)
        self.sides, self.row = range(registers), BYTES * registers  # of a feature

    def at(self, address: Any, feature: Any, side: int) -> Any:
        """The address of a register of a feature, whose number is known when the kernel is written or not."""
        number = address.type(feature) if isinstance(feature, int) else feature
        return self.offset(self.after(address, number, self.row), side * BYTES)


def _tiled(name: str, count: int, body: Callable[..., None]) -> Any:
    """An intrinsic of body(tile, *arguments), written for both widths of a tile, which is its last argument."""

    def both(memory: Memory, *arguments: Any) -> None:
        *others, lanes = arguments
        narrow = memory.builder.icmp_signed("==", lanes, lanes.type(NARROW))
        with memory.builder.if_else(narrow) as branches:
            for registers, branch in enumerate(branches, 1):
                with branch:
                    body(Tile(memory, registers), *others)

    return routine(f"lanes.{name}", count + 1, both)


@written
def _dense(_: Any, panels: Any, bias: Any, x: Any, y: Any, inputs: Any, count: Any, lanes: Any) -> Any:
    """Of `count` panels of outputs, y = weights x + bias; without a bias (0) the product is added to y."""

    def body(memory: Tile, panels: Any, bias: Any, x: Any, y: Any, inputs: Any, count: Any) -> None:
        totals = [[memory.variable() for _ in memory.sides] for _ in range(PANEL)]
        builder, places = memory.builder, [(row, side) for row in range(PANEL) for side in memory.sides]
        with memory.loop(count) as panel:
            to = memory.after(y, panel, PANEL * memory.row)
            with builder.if_else(builder.icmp_signed("!=", bias, bias.type(0))) as (given, missing):
                with given:
                    for row, side in places:
                        start = memory.spread(memory.offset(memory.after(bias, panel, 4 * PANEL), 4 * row))
                        memory.set(totals[row][side], start)
                with missing:
                    for row, side in places:
                        memory.set(totals[row][side], memory.load(memory.at(to, row, side)))
            first = memory.after(panels, builder.mul(panel, inputs), 4 * PANEL)
            with memory.loop(inputs) as k:
                values = [memory.load(memory.at(x, k, side)) for side in memory.sides]
                weights = memory.after(first, k, 4 * PANEL)
                for row in range(PANEL):
                    weight = memory.spread(memory.offset(weights, 4 * row))
                    for total, value in zip(totals[row], values, strict=True):
                        memory.set(total, weight * value + memory.get(total))
            for row, side in places:
                memory.store(memory.get(totals[row][side]), memory.at(to, row, side))

    return _tiled("dense", 6, body)


def _inverse_rms(memory: Tile, x: Any, count: Any, side: int) -> Vector:
    """1 / rms(x) over `count` features."""
    sum_ = memory.variable()
    with memory.loop(count) as k:
        value = memory.load(memory.at(x, k, side))
        memory.set(sum_, value * value + memory.get(sum_))
    mean = memory.get(sum_) / memory.number(count) + EPS
    return mean.constant([1.0] * mean.lanes) / mean.root()


@written
def _norm_silu(_: Any, x: Any, scale: Any, count: Any, lanes: Any) -> Any:
    """x becomes silu(x / rms(x) * scale) over `count` features."""

    def body(memory: Tile, x: Any, scale: Any, count: Any) -> None:
        factors = [_inverse_rms(memory, x, count, side) for side in memory.sides]
        with memory.loop(count) as k:
            weight = memory.spread(memory.after(scale, k, 4))
            for side, factor in enumerate(factors):
                place = memory.at(x, k, side)
                value = memory.load(place) * factor * weight
                memory.store(value / ((value * -1.0).exp() + 1.0), place)

    return _tiled("norm_silu", 3, body)


@written
def _norm_silu_backward(_: Any, grad: Any, x: Any, scale: Any, shares: Any, count: Any, lanes: Any) -> Any:
    """The gradient at silu(x / rms(x) * scale) becomes that at x; what it adds to that of the scale, to the shares."""

    def body(memory: Tile, grad: Any, x: Any, scale: Any, shares: Any, count: Any) -> None:
        for side in memory.sides:
            factor, sum_ = _inverse_rms(memory, x, count, side), memory.variable()
            with memory.loop(count) as k:
                place, value, share = (memory.at(array, k, side) for array in (grad, x, shares))
                weight, normed = memory.spread(memory.after(scale, k, 4)), memory.load(value) * factor
                scaled = normed * weight
                gate = scaled.sigmoid()
                slope = memory.load(place) * (gate * ((gate * -1.0 + 1.0) * scaled + 1.0))
                memory.store(slope * normed + memory.load(share), share)
                slope = slope * weight
                memory.set(sum_, slope * normed + memory.get(sum_))
                memory.store(slope, place)
            mean = memory.get(sum_) / memory.number(count)
            with memory.loop(count) as k:
                place, value = (memory.at(array, k, side) for array in (grad, x))
                memory.store((memory.load(place) - memory.load(value) * factor * mean) * factor, place)

    return _tiled("norm_silu_backward", 5, body)


@written
def _gate(_: Any, deter: Any, gates: Any, count: Any, lanes: Any) -> Any:
    """The GRU's step of a block of `count` features; gates: for reset, candidate and update, one below the other."""

    def body(memory: Tile, deter: Any, gates: Any, count: Any) -> None:
        below = memory.builder.mul(count, count.type(memory.row))
        with memory.loop(count) as k:
            for side in memory.sides:
                place = memory.at(gates, k, side)
                reset, raw, update = (memory.load(row) for row in memory.rows(place, below, 3))
                to = memory.at(deter, k, side)
                candidate = (reset.sigmoid() * raw * 2.0).sigmoid() * 2.0 - 1.0  # tanh
                before = memory.load(to)
                memory.store((candidate - before) * update.sigmoid() + before, to)

    return _tiled("gate", 3, body)


@written
def _gate_backward(_: Any, grad: Any, before: Any, gates: Any, count: Any, lanes: Any) -> Any:
    """The gradient after `_gate` becomes the one before that goes past the gates; the gates become theirs."""

    def body(memory: Tile, grad: Any, before: Any, gates: Any, count: Any) -> None:
        below = memory.builder.mul(count, count.type(memory.row))
        with memory.loop(count) as k:
            for side in memory.sides:
                places = memory.rows(memory.at(gates, k, side), below, 3)
                reset, raw, update = (memory.load(place) for place in places)
                reset, update = reset.sigmoid(), update.sigmoid()
                candidate = (reset * raw * 2.0).sigmoid() * 2.0 - 1.0  # tanh
                to, old = (memory.at(array, k, side) for array in (grad, before))
                given = memory.load(to)
                moved = given * update
                inner = moved * (candidate * candidate * -1.0 + 1.0)
                memory.store(inner * raw * (reset * (reset * -1.0 + 1.0)), places[0])
                memory.store(inner * reset, places[1])
                slope = update * (update * -1.0 + 1.0)
                memory.store(given * (candidate - memory.load(old)) * slope, places[2])
                memory.store(given - moved, to)

    return _tiled("gate_backward", 4, body)


@written
def _draw(_: Any, logits: Any, uniform: Any, out: Any, classes: Any, count: Any, lanes: Any) -> Any:
    """One-hot samples [K, S] of S = `count` categoricals by inversion of uniform [S].

    The logits [K, S] become the probabilities, mixed with the uniform distribution.
    """

    def body(memory: Tile, logits: Any, uniform: Any, out: Any, classes: Any, count: Any) -> None:
        builder, hop = memory.builder, memory.builder.mul(count, count.type(memory.row))
        last = builder.sub(classes, classes.type(1))
        number = memory.number(classes)
        floor = number.constant([UNIMIX] * number.lanes) / number
        top, scale, sum_, before = (memory.variable() for _ in range(4))
        for side in memory.sides:
            with memory.loop(count) as s:
                place = memory.at(logits, s, side)
                to = memory.at(out, s, side)
                bound = memory.load(memory.at(uniform, s, side))
                memory.set(top, memory.load(place))
                for variable in (scale, sum_, before):
                    memory.set(variable, bound.constant([0.0] * bound.lanes))
                with memory.loop(classes) as k:
                    value = memory.load(builder.add(place, builder.mul(k, hop)))
                    memory.set(top, value.maximum(memory.get(top)))
                with memory.loop(classes) as k:
                    at = builder.add(place, builder.mul(k, hop))
                    share = (memory.load(at) - memory.get(top)).exp()
                    memory.set(scale, share + memory.get(scale))
                    memory.store(share, at)
                memory.set(scale, bound.constant([1 - UNIMIX] * bound.lanes) / memory.get(scale))
                with memory.loop(classes) as k:
                    at = builder.mul(k, hop)
                    share = memory.load(builder.add(place, at)) * memory.get(scale) + floor
                    memory.store(share, builder.add(place, at))
                    memory.set(sum_, share + memory.get(sum_))
                    over = memory.get(sum_).exceeds(bound)
                    memory.store(over - memory.get(before), builder.add(to, at))
                    memory.set(before, over)
                final = builder.add(to, builder.mul(last, hop))  # which takes what rounding leaves
                memory.store(memory.load(final) - memory.get(before) + 1.0, final)

    return _tiled("draw", 5, body)


@written
def _softmax_backward(_: Any, grad: Any, probs: Any, classes: Any, count: Any, lanes: Any) -> Any:
    """The gradient at the softmax of S = `count` categoricals [K, S] becomes that at their logits.

    The probabilities are those that `_draw` leaves, mixed with the uniform distribution.
    """

    def body(memory: Tile, grad: Any, probs: Any, classes: Any, count: Any) -> None:
        builder, hop = memory.builder, memory.builder.mul(count, count.type(memory.row))
        number = memory.number(classes)
        floor, sum_ = number.constant([UNIMIX] * number.lanes) / number, memory.variable()

        def soft(place: Any) -> Vector:
            return (memory.load(place) - floor) * (1 / (1 - UNIMIX))

        for side in memory.sides:
            with memory.loop(count) as s:
                to, place = (memory.at(array, s, side) for array in (grad, probs))
                memory.set(sum_, floor.constant([0.0] * floor.lanes))
                with memory.loop(classes) as k:
                    at = builder.mul(k, hop)
                    share = memory.load(builder.add(to, at)) * soft(builder.add(place, at))
                    memory.set(sum_, share + memory.get(sum_))
                with memory.loop(classes) as k:
                    at = builder.mul(k, hop)
                    rest = memory.load(builder.add(to, at)) - memory.get(sum_)
                    memory.store(rest * soft(builder.add(place, at)), builder.add(to, at))

    return _tiled("softmax_backward", 4, body)


@written
def _mean(_: Any, logits: Any, bins: Any, out: Any, count: Any, lanes: Any) -> Any:
    """The expected value of the two-hot code with `count` positive bins, whose tails are paired as in `TwoHot.mean`."""

    def body(memory: Tile, logits: Any, bins: Any, out: Any, count: Any) -> None:
        builder = memory.builder
        top, total, sum_ = (memory.variable() for _ in range(3))
        for side in memory.sides:
            first = memory.offset(logits, side * BYTES)
            memory.set(top, memory.load(first))
            with memory.loop(builder.add(count, count)) as k:
                value = memory.load(memory.offset(memory.after(first, k, memory.row), memory.row))
                memory.set(top, value.maximum(memory.get(top)))
            highest = memory.get(top)
            memory.set(total, (memory.load(first) - highest).exp())
            memory.set(sum_, highest.constant([0.0] * highest.lanes))
            with memory.loop(count) as k:
                place = memory.offset(memory.after(first, k, memory.row), memory.row)
                up = (memory.load(place) - highest).exp()
                down = (memory.load(memory.after(place, count, memory.row)) - highest).exp()
                memory.set(total, up + down + memory.get(total))
                memory.set(sum_, (up - down) * memory.spread(memory.after(bins, k, 4)) + memory.get(sum_))
            memory.store(memory.get(sum_) / memory.get(total), memory.offset(out, side * BYTES))

    return _tiled("mean", 4, body)


@compiled
def lanes_for(rows: int) -> int:
    """How wide their tiles are."""
    return NARROW if rows <= NARROW else LANES


@compiled
def gather(rows: Array, first: int, tile: Array) -> None:
    """The features of rows [N, F] from number `first` on into a tile; zeros past the last row."""
    count, width = min(tile.shape[1], len(rows) - first), rows.shape[1]
    if count < tile.shape[1]:
        tile[:width] = 0.0
    for begin in range(0, width, 64):  # features of which few fill the nearest cache
        for lane in range(count):
            row = rows[first + lane]
            for feature in range(begin, min(begin + 64, width)):
                tile[feature, lane] = row[feature]


@compiled
def reset(tile: Array, keep: Array) -> None:
    """Zeros in the lanes where keep [1, LANES] is 0, whatever the tile holds there."""
    for lane in range(tile.shape[1]):
        if keep[0, lane] == 0.0:
            tile[:, lane] = 0.0


@compiled
def scatter(tile: Array, rows: Array, first: int) -> None:
    """A tile's features into rows [N, F] from number `first` on, as far as there are rows."""
    count, width = min(tile.shape[1], len(rows) - first), rows.shape[1]
    for begin in range(0, width, 64):
        for lane in range(count):
            row = rows[first + lane]
            for feature in range(begin, min(begin + 64, width)):
                row[feature] = tile[feature, lane]


@compiled
def dense(layer: Output, x: Array, y: Array) -> None:
    """y [8 ceil(O / 8), LANES] = weights x + bias, of x [I, LANES]."""
    weights, bias = layer
    _dense(
        weights.ctypes.data,
        bias.ctypes.data,
        x.ctypes.data,
        y.ctypes.data,
        weights.shape[1],
        weights.shape[0],
        x.shape[1],
    )


@compiled
def add_product(weights: Array, x: Array, y: Array) -> None:
    """y += weights x"""
    _dense(weights.ctypes.data, 0, x.ctypes.data, y.ctypes.data, weights.shape[1], weights.shape[0], x.shape[1])


@compiled
def norm_silu(x: Array, scale: Array) -> None:
    """x [F, LANES] becomes silu(x / rms(x) * scale)."""
    _norm_silu(x.ctypes.data, scale.ctypes.data, len(scale), x.shape[1])


@compiled
def norm_silu_backward(grad: Array, x: Array, scale: Array, shares: Array) -> None:
    """The gradient [F, LANES] at `norm_silu` of x becomes that at x; what the scale gets is added to shares."""
    _norm_silu_backward(grad.ctypes.data, x.ctypes.data, scale.ctypes.data, shares.ctypes.data, len(scale), x.shape[1])


@compiled
def trunk(layers: tuple[Layer, ...], x: Array, scratch: Array, first: int, pre: Any) -> Array:
    """What an MLP gives for x [I, LANES], in a part of scratch [2, W, LANES] that is written over by the next.

    pre: where what enters the norms of the rows from number `first` on is kept, [layers, N, U], or None.
    """
    y = x
    for number in range(len(layers)):
        x, y = y, scratch[number % 2]
        dense(layers[number][:2], x, y)
        if pre is not None:
            scatter(y, pre[number], first)
        norm_silu(y, layers[number][2])
    return y


@compiled
def network(layers: tuple[Layer, ...], output: Output, x: Array, scratch: Array, first: int, pre: Any) -> Array:
    """What a Head gives; as `trunk`."""
    y = trunk(layers, x, scratch, first, pre)
    out: Array = scratch[len(layers) % 2]
    dense(output, y, out)
    return out


@compiled
def gate(deter: Array, gates: Array, blocks: int) -> None:
    """The next deter [D, LANES], in place, from gates [G 3 P, LANES]."""
    width = len(deter) // blocks
    for block in range(blocks):
        part, three = deter[block * width :], gates[3 * block * width :]
        _gate(part.ctypes.data, three.ctypes.data, width, deter.shape[1])


@compiled
def gate_backward(grad: Array, before: Array, gates: Array, blocks: int) -> None:
    """The gradient [D, LANES] at the next deter becomes that at the one before but for what passes through the gates.

    gates [G 3 P, LANES] become their own gradients.
    """
    width = len(before) // blocks
    for block in range(blocks):
        part, old, three = grad[block * width :], before[block * width :], gates[3 * block * width :]
        _gate_backward(part.ctypes.data, old.ctypes.data, three.ctypes.data, width, before.shape[1])


@compiled
def draw(logits: Array, uniform: Array, classes: int, out: Array) -> None:
    """One-hot samples [K S, LANES] from logits [K S, LANES], which become probabilities; uniform [S, LANES]."""
    _draw(logits.ctypes.data, uniform.ctypes.data, out.ctypes.data, classes, len(uniform), logits.shape[1])


@compiled
def softmax_backward(grad: Array, probs: Array, classes: int) -> None:
    """The gradient [K S, LANES] at the softmax becomes that at the logits; probs [K S, LANES] as `draw` leaves them."""
    _softmax_backward(grad.ctypes.data, probs.ctypes.data, classes, len(probs) // classes, probs.shape[1])


@compiled
def mean(logits: Array, bins: Array, out: Array) -> None:
    """The value [LANES] that two-hot logits [2 K + 1, LANES] stand for; bins: the K positive ones."""
    _mean(logits.ctypes.data, bins.ctypes.data, out.ctypes.data, len(bins), logits.shape[1])
