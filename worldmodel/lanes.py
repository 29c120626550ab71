"""Layers on the processor, row by row in the lanes of its vector registers: the operations of compiled kernels.

Operators of PyTorch take their inputs from memory and bring their results back, one after the other. Here a tile of
rows goes through a whole network while it stays in the nearest caches. Arrays of a tile are [F, LANES]: features first,
rows last, so that no operation reduces over lanes. Weights come in panels of eight outputs, which are read in one go:
`panels` makes them. Nothing here has a gradient.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hybrid_opt.simulator.registers import BYTES, Memory, procedure, written
from worldmodel.nets import EPS
from worldmodel.recurrence import UNIMIX

Array = NDArray[np.float32]
Layer = tuple[Array, Array, Array]  # of Linear and NormAct: panels, bias, scale
Output = tuple[Array, Array]  # of Linear: panels, bias

PANEL = 8  # outputs that are computed together
REGISTERS = 2  # of a row of a tile
LANES = 16 * REGISTERS  # rows of a tile
ROW = BYTES * REGISTERS  # bytes of a feature of a tile
SIDE = range(REGISTERS)
FLOAT = ir.FloatType()
compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = numba.njit(
    nogil=True, error_model="numpy", fastmath={"contract"}
)


def panels(weight: Tensor) -> Array:
    """A matrix of weights [..., O, I] as panels [..., ceil(O / 8), I, 8], filled up with zeros."""
    padded = F.pad(weight.detach(), (0, 0, 0, -weight.shape[-2] % PANEL))
    array: Array = padded.unflatten(-2, (-1, PANEL)).transpose(-1, -2).contiguous().numpy()
    return array


def padded(bias: Tensor) -> Array:
    """A bias [..., O] with zeros for the outputs by which panels are filled up."""
    array: Array = F.pad(bias.detach(), (0, -bias.shape[-1] % PANEL)).numpy()
    return array


def _intrinsic(name: str, count: int, body: Callable[..., None]) -> Any:
    """The type and the code of an intrinsic of `count` addresses and numbers, which body(memory, *arguments) writes."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        procedure(f"worldmodel.{name}", FLOAT, ir.VoidType(), builder, arguments, body)
        return context.get_dummy_value()

    return types.void(*[types.intp] * count), codegen


@written
def _dense(_: Any, panels: Any, bias: Any, x: Any, y: Any, inputs: Any, count: Any) -> Any:
    """Of `count` panels of outputs, y = weights x + bias; without a bias (0) the product is added to y."""

    def body(memory: Memory, panels: Any, bias: Any, x: Any, y: Any, inputs: Any, count: Any) -> None:
        totals = [[memory.variable() for _ in SIDE] for _ in range(PANEL)]
        builder, size = memory.builder, ir.Constant(inputs.type, 4 * PANEL)
        places = [(row, side) for row in range(PANEL) for side in SIDE]
        with memory.loop(count) as panel:
            to = memory.after(y, panel, PANEL * ROW)
            with builder.if_else(builder.icmp_signed("!=", bias, bias.type(0))) as (given, missing):
                with given:
                    for row in range(PANEL):
                        start = memory.spread(memory.offset(memory.after(bias, panel, 4 * PANEL), 4 * row))
                        for side in SIDE:
                            memory.set(totals[row][side], start)
                with missing:
                    for row, side in places:
                        memory.set(totals[row][side], memory.load(memory.offset(to, row * ROW + side * BYTES)))
            first = builder.add(panels, builder.mul(panel, builder.mul(inputs, size)))
            with memory.loop(inputs) as k:
                values = [memory.load(memory.offset(memory.after(x, k, ROW), side * BYTES)) for side in SIDE]
                weights = memory.after(first, k, 4 * PANEL)
                for row in range(PANEL):
                    weight = memory.spread(memory.offset(weights, 4 * row))
                    for total, value in zip(totals[row], values, strict=True):
                        memory.set(total, weight * value + memory.get(total))
            for row, side in places:
                memory.store(memory.get(totals[row][side]), memory.offset(to, row * ROW + side * BYTES))

    return _intrinsic("dense", 6, body)


@written
def _norm_silu(_: Any, x: Any, scale: Any, count: Any) -> Any:
    """x becomes silu(x / rms(x) * scale) over `count` features."""

    def body(memory: Memory, x: Any, scale: Any, count: Any) -> None:
        factors = [memory.variable() for _ in SIDE]
        with memory.loop(count) as k:
            for side, factor in enumerate(factors):
                value = memory.load(memory.offset(memory.after(x, k, ROW), side * BYTES))
                memory.set(factor, value * value + memory.get(factor))
        number = memory.all(memory.builder.sitofp(count, FLOAT))
        for factor in factors:
            mean = memory.get(factor) / number + float(EPS)
            memory.set(factor, mean.constant([1.0] * mean.lanes) / mean.root())
        with memory.loop(count) as k:
            weight = memory.spread(memory.after(scale, k, 4))
            for side, factor in enumerate(factors):
                place = memory.offset(memory.after(x, k, ROW), side * BYTES)
                value = memory.load(place) * memory.get(factor) * weight
                memory.store(value / ((value * -1.0).exp() + 1.0), place)

    return _intrinsic("norm_silu", 3, body)


@written
def _gate(_: Any, deter: Any, gates: Any, count: Any) -> Any:
    """The GRU's step of a block of `count` features; gates: for reset, candidate and update, one below the other."""

    def body(memory: Memory, deter: Any, gates: Any, count: Any) -> None:
        below = memory.builder.mul(count, count.type(ROW))
        with memory.loop(count) as k:
            for side in SIDE:
                place = memory.offset(memory.after(gates, k, ROW), side * BYTES)
                reset, raw, update = (memory.load(row) for row in memory.rows(place, below, 3))
                to = memory.offset(memory.after(deter, k, ROW), side * BYTES)
                candidate = (reset.sigmoid() * raw * 2.0).sigmoid() * 2.0 - 1.0  # tanh
                before = memory.load(to)
                memory.store((candidate - before) * update.sigmoid() + before, to)

    return _intrinsic("gate", 3, body)


@written
def _draw(_: Any, logits: Any, uniform: Any, out: Any, classes: Any, count: Any) -> Any:
    """One-hot samples [K, S] of S = `count` categoricals with their uniform mix, by inversion of uniform [S]."""

    def body(memory: Memory, logits: Any, uniform: Any, out: Any, classes: Any, count: Any) -> None:
        builder, hop = memory.builder, memory.builder.mul(count, count.type(ROW))
        last = builder.sub(classes, classes.type(1))
        number = memory.all(builder.sitofp(classes, FLOAT))
        floor = number.constant([UNIMIX] * number.lanes) / number
        top, scale, sum_, before = (memory.variable() for _ in range(4))
        for side in SIDE:
            with memory.loop(count) as s:
                place = memory.offset(memory.after(logits, s, ROW), side * BYTES)
                to = memory.offset(memory.after(out, s, ROW), side * BYTES)
                bound = memory.load(memory.offset(memory.after(uniform, s, ROW), side * BYTES))
                memory.set(top, memory.load(place))
                for variable in (scale, sum_, before):
                    memory.set(variable, bound.constant([0.0] * bound.lanes))
                with memory.loop(classes) as k:
                    value = memory.load(builder.add(place, builder.mul(k, hop)))
                    memory.set(top, value.maximum(memory.get(top)))
                with memory.loop(classes) as k:
                    share = (memory.load(builder.add(place, builder.mul(k, hop))) - memory.get(top)).exp()
                    memory.set(scale, share + memory.get(scale))
                    memory.store(share, builder.add(to, builder.mul(k, hop)))
                memory.set(scale, bound.constant([1 - UNIMIX] * bound.lanes) / memory.get(scale))
                with memory.loop(last) as k:
                    at = builder.add(to, builder.mul(k, hop))
                    memory.set(sum_, memory.load(at) * memory.get(scale) + floor + memory.get(sum_))
                    over = memory.get(sum_).exceeds(bound)
                    memory.store(over - memory.get(before), at)
                    memory.set(before, over)
                rest = memory.get(before) * -1.0 + 1.0  # the last class takes what rounding leaves
                memory.store(rest, builder.add(to, builder.mul(last, hop)))

    return _intrinsic("draw", 5, body)


@written
def _mean(_: Any, logits: Any, bins: Any, out: Any, count: Any) -> Any:
    """The expected value of the two-hot code with `count` positive bins, whose tails are paired as in `TwoHot.mean`."""

    def body(memory: Memory, logits: Any, bins: Any, out: Any, count: Any) -> None:
        builder = memory.builder
        top, total, sum_ = (memory.variable() for _ in range(3))
        for side in SIDE:
            first = memory.offset(logits, side * BYTES)
            memory.set(top, memory.load(first))
            with memory.loop(builder.add(count, count)) as k:
                value = memory.load(memory.offset(memory.after(first, k, ROW), ROW))
                memory.set(top, value.maximum(memory.get(top)))
            highest = memory.get(top)
            memory.set(total, (memory.load(first) - highest).exp())
            memory.set(sum_, highest.constant([0.0] * highest.lanes))
            with memory.loop(count) as k:
                place = memory.offset(memory.after(first, k, ROW), ROW)
                up = (memory.load(place) - highest).exp()
                down = (memory.load(memory.after(place, count, ROW)) - highest).exp()
                memory.set(total, up + down + memory.get(total))
                memory.set(sum_, (up - down) * memory.spread(memory.after(bins, k, 4)) + memory.get(sum_))
            memory.store(memory.get(sum_) / memory.get(total), memory.offset(out, side * BYTES))

    return _intrinsic("mean", 4, body)


@compiled
def gather(rows: Array, first: int, tile: Array) -> None:
    """The features of rows [N, F] from number `first` on into a tile; past the last row that one again."""
    for lane in range(LANES):
        row = rows[min(first + lane, len(rows) - 1)]
        for feature in range(len(row)):
            tile[feature, lane] = row[feature]


@compiled
def scatter(tile: Array, rows: Array, first: int) -> None:
    """A tile's features into rows [N, F] from number `first` on, as far as there are rows."""
    count, width = min(LANES, len(rows) - first), rows.shape[1]
    for begin in range(0, width, 64):  # features of which few fill the nearest cache
        for lane in range(count):
            row = rows[first + lane]
            for feature in range(begin, min(begin + 64, width)):
                row[feature] = tile[feature, lane]


@compiled
def dense(layer: Output, x: Array, y: Array) -> None:
    """y [8 ceil(O / 8), LANES] = weights x + bias, of x [I, LANES]."""
    weights, bias = layer
    _dense(weights.ctypes.data, bias.ctypes.data, x.ctypes.data, y.ctypes.data, weights.shape[1], weights.shape[0])


@compiled
def add_product(weights: Array, x: Array, y: Array) -> None:
    """y += weights x"""
    _dense(weights.ctypes.data, 0, x.ctypes.data, y.ctypes.data, weights.shape[1], weights.shape[0])


@compiled
def norm_silu(x: Array, scale: Array) -> None:
    """x [F, LANES] becomes silu(x / rms(x) * scale)."""
    _norm_silu(x.ctypes.data, scale.ctypes.data, len(scale))


@compiled
def network(layers: tuple[Layer, ...], output: Output, x: Array, scratch: Array) -> Array:
    """What a Head gives for x [I, LANES], in a part of scratch [2, W, LANES] that is written over by the next."""
    y = x
    for number in range(len(layers)):
        weights, bias, scale = layers[number]
        x, y = y, scratch[number % 2]
        dense((weights, bias), x, y)
        norm_silu(y, scale)
    out: Array = scratch[len(layers) % 2]
    dense(output, y, out)
    return out


@compiled
def gate(deter: Array, gates: Array, blocks: int) -> None:
    """The next deter [D, LANES], in place, from gates [G 3 P, LANES]."""
    width = len(deter) // blocks
    for block in range(blocks):
        part, three = deter[block * width :], gates[3 * block * width :]
        _gate(part.ctypes.data, three.ctypes.data, width)


@compiled
def draw(logits: Array, uniform: Array, classes: int, out: Array) -> None:
    """One-hot samples [K S, LANES] from logits [K S, LANES]; uniform [S, LANES]."""
    count = len(uniform)
    _draw(logits.ctypes.data, uniform.ctypes.data, out.ctypes.data, classes, count)


@compiled
def mean(logits: Array, bins: Array, out: Array) -> None:
    """The value [LANES] that two-hot logits [2 K + 1, LANES] stand for; bins: the K positive ones."""
    _mean(logits.ctypes.data, bins.ctypes.data, out.ctypes.data, len(bins))
