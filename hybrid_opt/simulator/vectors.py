"""The arithmetic of state vectors, on whole vector registers: intrinsics of the compiled kernels.

A state is two arrays of reals, its real and its imaginary parts; addresses are those of their elements, in bytes. A
register holds L elements; bits below log2 L of a basis state are the lane within a register.

The mixer exp(i beta X) = S* exp(i beta Y) S with S = diag(1, i) is here the real rotation exp(i beta Y) of real and
imaginary parts alike: S commutes with all phases, so it is applied once, to the initial state, and never taken back.
A rotation by its tangent t, a + t b and b - t a, takes two operations a pair; the factors cos(beta) are left to the
phases.
"""

import math
from typing import Any

from llvmlite import ir
from numba.core import types

from hybrid_opt.simd.registers import BYTES, Memory, Vector, procedure, written


def kernel(name: str, scalar: Any, builder: Any, arguments: Any, body: Any) -> Any:
    """Call a function of the kernel's own, which is written when it is first called; it returns a double.

    body(memory, step, *arguments) writes what is done in step 0, 1, ... of as many as the last argument says, and
    returns the Vector whose lanes are to be added up, or None. step(bytes) is bytes times the number of the step.
    """
    double = ir.DoubleType()

    def whole(memory: Memory, *arguments: Any) -> Any:
        inner, total = memory.builder, memory.variable()
        with memory.loop(arguments[-1]) as index:
            added = body(memory, lambda size: inner.mul(size, index), *arguments[:-1])
            if added is not None:
                memory.set(total, memory.get(total) + added)
        sum_ = memory.get(total)
        for bit in range(sum_.lanes.bit_length() - 1):
            sum_ = sum_ + sum_.flipped(bit)
        first = inner.extract_element(sum_.value, ir.Constant(ir.IntType(32), 0))
        return first if scalar == double else inner.fpext(first, double)

    return procedure(f"hybrid_opt.{name}.{scalar}", scalar, double, builder, arguments, whole)


def signs(like: Vector, bit: int) -> Vector:
    """+1 in the lanes where the bit is 0 and -1 where it is 1."""
    return like.constant([1.0 - 2.0 * (lane >> bit & 1) for lane in range(like.lanes)])


def turned(turns: Vector) -> tuple[Vector, Vector]:
    """Cosine and sine of 2 pi turns, from the Taylor series at half of the angle, to the last digit but two."""
    half = turns.fraction()  # in units of pi
    square = half * half
    last = 6 if half.single else 11
    sine = _series(square, [math.pi * (-(math.pi**2)) ** k / math.factorial(2 * k + 1) for k in range(last)]) * half
    cosine = _series(square, [(-(math.pi**2)) ** k / math.factorial(2 * k) for k in range(last + 1)])
    twice = sine + sine
    return twice * sine * -1.0 + 1.0, twice * cosine


def _series(x: Vector, coefficients: list[float]) -> Vector:
    total = x.constant([coefficients[-1]] * x.lanes)
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


def _butterfly(a: Vector, b: Vector, tangent: Vector) -> tuple[Vector, Vector]:
    return b * tangent + a, b - a * tangent


def _turn(re: Vector, im: Vector, cosine: Vector, sine: Vector) -> tuple[Vector, Vector]:
    """(re + i im) (cosine - i sine)."""
    return re * cosine + im * sine, im * cosine - re * sine


@written
def rotate(
    _: Any, rows: Any, lanes: Any, source: Any, stride: Any, target: Any, to: Any, t: Any, hop: Any, n: Any
) -> Any:
    """Rotate the bits of the row number and, if `lanes`, those of the lanes.

    Rows are registers `stride` bytes apart at the source and `to` bytes apart at the target. n times, `hop` bytes on.
    """

    def body(memory: Memory, step: Any, source: Any, stride: Any, target: Any, to: Any, t: Any, hop: Any) -> None:
        tangent, offset = memory.all(t), step(hop)
        add = memory.builder.add
        vectors = [memory.load(row) for row in memory.rows(add(source, offset), stride, count)]
        for bit in range((tangent.lanes.bit_length() - 1) * within):
            slope = tangent * signs(tangent, bit)
            vectors = [vector.flipped(bit) * slope + vector for vector in vectors]
        for bit in range(count.bit_length() - 1):
            for row in range(count):
                if not row >> bit & 1:
                    other = row | 1 << bit
                    vectors[row], vectors[other] = _butterfly(vectors[row], vectors[other], tangent)
        for vector, row in zip(vectors, memory.rows(add(target, offset), to, count), strict=True):
            memory.store(vector, row)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scalar = context.get_value_type(t)
        return kernel(f"rotate.{count}.{within}", scalar, builder, arguments[2:], body)

    count, within = rows.literal_value, lanes.literal_value
    return types.float64(rows, lanes, *[types.intp] * 4, t, types.intp, types.intp), codegen


@written
def unrotate(
    _: Any, rows: Any, lanes: Any, ket: Any, bra: Any, stride: Any, ket_to: Any, bra_to: Any, to: Any, t: Any, hop: Any,
    n: Any,
) -> Any:  # fmt: skip
    """Rotate a ket and a bra as `rotate` does, lanes first; the overlap <bra| sum iY |ket> over the bits concerned.

    The overlap of a bit is taken before the rotation of that bit and the later ones, so it is too small by 1 + t^2 for
    each. That is made up for; not so what later calls rotate.
    """

    def body(
        memory: Memory, step: Any, ket: Any, bra: Any, stride: Any, ket_to: Any, bra_to: Any, to: Any, t: Any, hop: Any
    ) -> Vector:
        tangent, offset = memory.all(t), step(hop)
        fade, add = tangent * tangent + 1.0, memory.builder.add
        kets = [memory.load(row) for row in memory.rows(add(ket, offset), stride, count)]
        bras = [memory.load(row) for row in memory.rows(add(bra, offset), stride, count)]
        total = None
        for bit in range((tangent.lanes.bit_length() - 1) * within):
            sign, sum_ = signs(tangent, bit), None
            for row in range(count):
                image = kets[row].flipped(bit)
                sum_ = image * bras[row] if sum_ is None else image * bras[row] + sum_
                kets[row] = image * (tangent * sign) + kets[row]
                bras[row] = bras[row].flipped(bit) * (tangent * sign) + bras[row]
            total = _faded(total, fade, sum_, sign)
        for bit in range(count.bit_length() - 1):
            sum_ = None
            for row in range(count):
                if not row >> bit & 1:
                    other = row | 1 << bit
                    part = bras[row] * kets[other] - bras[other] * kets[row]
                    sum_ = part if sum_ is None else sum_ + part
                    kets[row], kets[other] = _butterfly(kets[row], kets[other], tangent)
                    bras[row], bras[other] = _butterfly(bras[row], bras[other], tangent)
            total = _faded(total, fade, sum_, None)
        for vector, row in zip(kets, memory.rows(add(ket_to, offset), to, count), strict=True):
            memory.store(vector, row)
        for vector, row in zip(bras, memory.rows(add(bra_to, offset), to, count), strict=True):
            memory.store(vector, row)
        assert total is not None
        return total

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scalar = context.get_value_type(t)
        return kernel(f"unrotate.{count}.{within}", scalar, builder, arguments[2:], body)

    count, within = rows.literal_value, lanes.literal_value
    return types.float64(rows, lanes, *[types.intp] * 6, t, types.intp, types.intp), codegen


def _faded(total: Vector | None, fade: Vector, sum_: Any, sign: Vector | None) -> Vector:
    added: Vector = sum_ if sign is None else sum_ * sign
    return (added if total is None else total + added) * fade


@written
def start(_: Any, re: Any, im: Any, cost: Any, index: Any, turns: Any, scale: Any, n: Any) -> Any:
    """scale * i^(ones of the basis state) * exp(-2 pi i turns cost) in n registers, from `index` of the state on."""

    def body(memory: Memory, step: Any, re: Any, im: Any, cost: Any, index: Any, turns: Any, scale: Any) -> None:
        builder, offset = memory.builder, step(ir.Constant(re.type, BYTES))
        number = builder.add(index, step(ir.Constant(re.type, 1)))
        ones = builder.and_(builder.ctpop(number), ir.Constant(number.type, 3))
        quarters = memory.all(builder.sitofp(ones, memory.kind.element)) * 0.25
        lanes = quarters.constant([lane.bit_count() / 4 for lane in range(quarters.lanes)])
        costs = memory.load(builder.add(cost, offset))
        cosine, sine = turned(quarters + lanes - costs * memory.all(turns))
        memory.store(cosine * memory.all(scale), builder.add(re, offset))
        memory.store(sine * memory.all(scale), builder.add(im, offset))

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return kernel("start", context.get_value_type(turns), builder, arguments, body)

    return types.float64(*[types.intp] * 4, turns, turns, types.intp), codegen


@written
def phase(_: Any, re: Any, im: Any, cost: Any, turns: Any, scale: Any, n: Any) -> Any:
    """Multiply n registers by scale * exp(-2 pi i turns cost)."""

    def body(memory: Memory, step: Any, re: Any, im: Any, cost: Any, turns: Any, scale: Any) -> None:
        offset, add = step(ir.Constant(re.type, BYTES)), memory.builder.add
        re, im = add(re, offset), add(im, offset)
        cosine, sine = turned(memory.load(add(cost, offset)) * memory.all(turns))
        cosine, sine = cosine * memory.all(scale), sine * memory.all(scale)
        for vector, to in zip(_turn(memory.load(re), memory.load(im), cosine, sine), (re, im), strict=True):
            memory.store(vector, to)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return kernel("phase", context.get_value_type(turns), builder, arguments, body)

    return types.float64(*[types.intp] * 3, turns, turns, types.intp), codegen


@written
def unphase(
    _: Any, turn: Any, re: Any, im: Any, bra_re: Any, bra_im: Any, cost: Any, turns: Any, scale: Any, n: Any
) -> Any:
    """Im <bra| cost |ket> of n registers; then, if `turn`, multiply both by scale * exp(+2 pi i turns cost)."""

    def body(
        memory: Memory, step: Any, re: Any, im: Any, bra: Any, bra_im: Any, cost: Any, turns: Any, scale: Any
    ) -> Any:
        offset, add = step(ir.Constant(re.type, BYTES)), memory.builder.add
        places = [add(address, offset) for address in (re, im, bra, bra_im)]
        costs = memory.load(add(cost, offset))
        a, b, c, d = (memory.load(place) for place in places)
        if back:
            cosine, sine = turned(costs * memory.all(turns))
            cosine, sine = cosine * memory.all(scale), sine * memory.all(scale) * -1.0
            vectors = _turn(a, b, cosine, sine) + _turn(c, d, cosine, sine)
            for vector, place in zip(vectors, places, strict=True):
                memory.store(vector, place)
        return (c * b - d * a) * costs

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return kernel(f"unphase.{back}", context.get_value_type(turns), builder, arguments[1:], body)

    back = turn.literal_value
    return types.float64(turn, *[types.intp] * 5, turns, turns, types.intp), codegen


@written
def weigh(
    _: Any, re: Any, im: Any, cost: Any, bra_re: Any, bra_im: Any, roof: Any, slope: Any, scale: Any, n: Any
) -> Any:
    """bra = w ket in n registers, w = slope * min(cost - roof, 0), both scaled; w |ket|^2, not scaled."""

    def body(
        memory: Memory, step: Any, re: Any, im: Any, cost: Any, bra: Any, bra_im: Any, roof: Any, slope: Any, scale: Any
    ) -> Vector:
        offset, add = step(ir.Constant(re.type, BYTES)), memory.builder.add
        re, im, bra, bra_im = (add(address, offset) for address in (re, im, bra, bra_im))
        weight = (memory.load(add(cost, offset)) - memory.all(roof)).minimum(0.0) * memory.all(slope)
        real, imaginary, factor = memory.load(re), memory.load(im), memory.all(scale)
        for vector, ket_to, bra_to in ((real * factor, re, bra), (imaginary * factor, im, bra_im)):
            memory.store(vector, ket_to)
            memory.store(vector * weight, bra_to)
        return (real * real + imaginary * imaginary) * weight

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return kernel("weigh", context.get_value_type(roof), builder, arguments, body)

    return types.float64(*[types.intp] * 5, roof, roof, roof, types.intp), codegen
