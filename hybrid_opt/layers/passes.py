"""Passes over the amplitudes of a block of rows: the intrinsics of the compiled engine.

A block is LANES rows side by side. Its state is [2^n, 2, LANES]: of each amplitude the real parts, then the imaginary
parts. A gate is [4, LANES], so each row has coefficients of its own. No pass mixes rows. `places[k]` says how many
bytes amplitude k lies behind the state's address, and `signs[k]` what it is still to be multiplied with.
"""

from typing import Any

from hybrid_opt.layers.lanes import ROW, Lanes, Pair, circle, scaled, times, written_for_lanes
from hybrid_opt.simd.registers import Vector, written


def _applied(gate: list[Vector], low: Pair, high: Pair) -> tuple[Pair, Pair]:
    """A gate's [[a + ib, -c + id], [c + id, a - ib]] times a pair."""
    a, b, c, d = gate
    return (
        [a * low[0] - b * low[1] - c * high[0] - d * high[1], a * low[1] + b * low[0] - c * high[1] + d * high[0]],
        [c * low[0] - d * low[1] + a * high[0] + b * high[1], c * low[1] + d * low[0] + a * high[1] - b * high[0]],
    )


def _undone(gate: list[Vector], low: Pair, high: Pair) -> tuple[Pair, Pair]:
    """The inverse of `_applied` for a gate of norm 1."""
    a, b, c, d = gate
    return (
        [a * low[0] + b * low[1] + c * high[0] + d * high[1], a * low[1] - b * low[0] + c * high[1] - d * high[0]],
        [a * high[0] - b * high[1] - c * low[0] + d * low[1], a * high[1] + b * high[0] - c * low[1] - d * low[0]],
    )


def _across(gate: list[Vector], axis: int) -> list[Vector]:
    """A gate times -iX, -iY, -iZ (axis 1, 2, 3), which stands on its right."""
    a, b, c, d = gate
    return {1: [d, c, b * -1.0, a * -1.0], 2: [c * -1.0, d, a, b * -1.0], 3: [b, a * -1.0, d, c * -1.0]}[axis]


def _turned(gate: list[Vector], across: list[Vector], cosine: Vector, sine: Vector) -> list[Vector]:
    return [x * cosine + y * sine for x, y in zip(gate, across, strict=True)]


@written
def half_circle(_: Any, angles: Any, out: Any, count: Any) -> Any:
    """Cosines and sines [count, 2, LANES] of half of the angles [count, LANES]."""

    def body(memory: Lanes, angles: Any, out: Any, count: Any) -> None:
        with memory.loop(count) as k:
            memory.put_pair(circle(memory.load(memory.after(angles, k, ROW)) * 0.5), memory.after(out, k, 2 * ROW))

    return written_for_lanes("half_circle", 3, body)


@written
def share(_: Any, numbers: Any, out: Any, count: Any) -> Any:
    """Write numbers [count] in all lanes."""

    def body(memory: Lanes, numbers: Any, out: Any, count: Any) -> None:
        with memory.loop(count) as k:
            memory.store(memory.spread(memory.after(numbers, k, 4)), memory.after(out, k, ROW))

    return written_for_lanes("share", 3, body)


@written
def add(_: Any, x: Any, total: Any, count: Any) -> Any:
    """Add x [count, LANES] to a total."""

    def body(memory: Lanes, x: Any, total: Any, count: Any) -> None:
        with memory.loop(count) as k:
            at = memory.after(total, k, ROW)
            memory.store(memory.load(at) + memory.load(memory.after(x, k, ROW)), at)

    return written_for_lanes("add", 3, body)


@written
def rotate(_: Any, gate: Any, half: Any, axis: Any) -> Any:
    """Put a rotation in front of a gate: about X, Y or Z (axis 1, 2, 3); half: of its angle, cosine and sine."""

    def body(memory: Lanes, gate: Any, half: Any, axis: Any) -> None:
        for known in (1, 2, 3):
            with memory.builder.if_then(memory.builder.icmp_signed("==", axis, axis.type(known))):
                before, (cosine, sine) = memory.gate(gate), memory.get_pair(half)
                for part, value in enumerate(_turned(before, _across(before, known), cosine, sine)):
                    memory.store(value, memory.offset(gate, part * ROW))

    return written_for_lanes("rotate", 3, body)


@written
def unrotate(_: Any, gate: Any, grad: Any, half: Any, axis: Any, at_angle: Any) -> Any:
    """Take a gate and its gradient back through `rotate`; what the angle gets is added."""

    def body(memory: Lanes, gate: Any, grad: Any, half: Any, axis: Any, at_angle: Any) -> None:
        for known in (1, 2, 3):
            with memory.builder.if_then(memory.builder.icmp_signed("==", axis, axis.type(known))):
                after, given, (cosine, sine) = memory.gate(gate), memory.gate(grad), memory.get_pair(half)
                across = _across(after, known)
                slope = given[0] * across[0]
                for x, y in zip(given[1:], across[1:], strict=True):
                    slope = x * y + slope
                memory.store(slope * 0.5 + memory.load(at_angle), at_angle)
                for parts, beyond, to in ((after, across, gate), (given, _across(given, known), grad)):
                    for part, value in enumerate(_turned(parts, beyond, cosine, sine * -1.0)):
                        memory.store(value, memory.offset(to, part * ROW))

    return written_for_lanes("unrotate", 5, body)


@written
def double(_: Any, state: Any, gate: Any, count: Any) -> Any:
    """A product state of `count` amplitudes becomes one of twice as many: of a further qubit, which a gate turns."""

    def body(memory: Lanes, state: Any, gate: Any, count: Any) -> None:
        a, b, c, d = memory.gate(gate)
        with memory.loop(count) as k:
            at = memory.after(state, k, 2 * ROW)
            value = memory.get_pair(at)
            memory.put_pair(times(value, [c, d]), memory.after(at, count, 2 * ROW))
            memory.put_pair(times(value, [a, b]), at)

    return written_for_lanes("double", 3, body)


@written
def double_beyond(_: Any, state: Any, gate: Any, target: Any, count: Any) -> Any:
    """`double`, whose result goes to `target`."""

    def body(memory: Lanes, state: Any, gate: Any, target: Any, count: Any) -> None:
        a, b, c, d = memory.gate(gate)
        with memory.loop(count) as k:
            value, to = memory.get_pair(memory.after(state, k, 2 * ROW)), memory.after(target, k, 2 * ROW)
            memory.put_pair(times(value, [a, b]), to)
            memory.put_pair(times(value, [c, d]), memory.after(to, count, 2 * ROW))

    return written_for_lanes("double_beyond", 4, body)


@written
def halve(_: Any, dual: Any, state: Any, gate: Any, grad: Any, count: Any) -> Any:
    """The dual behind `double` becomes that before it, of `count` amplitudes; `state` is the one before it.

    The gate's gradient is written to `grad`.
    """

    def body(memory: Lanes, dual: Any, state: Any, gate: Any, grad: Any, count: Any) -> None:
        a, b, c, d = memory.gate(gate)
        sums = [memory.variable() for _ in range(4)]
        with memory.loop(count) as k:
            at = memory.after(dual, k, 2 * ROW)
            x, low = memory.get_pair(memory.after(state, k, 2 * ROW)), memory.get_pair(at)
            high = memory.get_pair(memory.after(at, count, 2 * ROW))
            memory.add_to(sums[0], (low[0], x[0]), (low[1], x[1]), minus=())
            memory.add_to(sums[1], (low[1], x[0]), minus=((low[0], x[1]),))
            memory.add_to(sums[2], (high[0], x[0]), (high[1], x[1]), minus=())
            memory.add_to(sums[3], (high[1], x[0]), minus=((high[0], x[1]),))
            real = a * low[0] + b * low[1] + c * high[0] + d * high[1]
            imaginary = a * low[1] - b * low[0] + c * high[1] - d * high[0]
            memory.put_pair([real, imaginary], at)
        for part, total in enumerate(sums):
            memory.store(memory.get(total), memory.offset(grad, part * ROW))

    return written_for_lanes("halve", 5, body)


@written
def turn(_: Any, state: Any, places: Any, signs: Any, gate: Any, bit: Any, count: Any) -> Any:
    """Apply a gate to the qubit `bit`, that is to `count` pairs, after the signs, where there are some (not 0)."""

    def body(memory: Lanes, state: Any, places: Any, signs: Any, gate: Any, bit: Any, count: Any) -> None:
        coefficients, builder = memory.gate(gate), memory.builder

        def pairs(signed: bool) -> None:
            with memory.loop(count) as j:
                numbers = memory.numbers(j, bit)
                at = [memory.place(state, places, k) for k in numbers]
                low, high = (memory.get_pair(address) for address in at)
                if signed:
                    low, high = (scaled(x, memory.sign(signs, k)) for x, k in zip((low, high), numbers, strict=True))
                for value, address in zip(_applied(coefficients, low, high), at, strict=True):
                    memory.put_pair(value, address)

        with builder.if_else(builder.icmp_signed("!=", signs, signs.type(0))) as (some, none):
            with some:
                pairs(True)
            with none:
                pairs(False)

    return written_for_lanes("turn", 6, body)


@written
def unturn(
    _: Any, state: Any, dual: Any, places: Any, signs: Any, gate: Any, norm: Any, grad: Any, bit: Any, count: Any
) -> Any:
    """Take state and dual back through `turn`; the gate's gradient is written to `grad`. norm: Re <dual|state>."""

    def body(
        memory: Lanes,
        state: Any,
        dual: Any,
        places: Any,
        signs: Any,
        gate: Any,
        norm: Any,
        grad: Any,
        bit: Any,
        count: Any,
    ) -> None:
        coefficients, builder = memory.gate(gate), memory.builder
        sums = [memory.variable() for _ in range(3)]  # Re <dual|basis|state> for the basis iZ, -iY, iX

        def pairs(signed: bool) -> None:
            with memory.loop(count) as j:
                numbers = memory.numbers(j, bit)
                at = [[memory.place(base, places, k) for k in numbers] for base in (state, dual)]
                (x, y), (u, v) = ([memory.get_pair(address) for address in pair] for pair in at)
                memory.add_to(sums[0], (u[1], x[0]), (v[0], y[1]), minus=((u[0], x[1]), (v[1], y[0])))
                memory.add_to(sums[1], (v[0], x[0]), (v[1], x[1]), minus=((u[0], y[0]), (u[1], y[1])))
                memory.add_to(sums[2], (u[1], y[0]), (v[1], x[0]), minus=((u[0], y[1]), (v[0], x[1])))
                for pair, addresses in (((x, y), at[0]), ((u, v), at[1])):
                    for value, address, k in zip(_undone(coefficients, *pair), addresses, numbers, strict=True):
                        memory.put_pair(scaled(value, memory.sign(signs, k)) if signed else value, address)

        with builder.if_else(builder.icmp_signed("!=", signs, signs.type(0))) as (some, none):
            with some:
                pairs(True)
            with none:
                pairs(False)
        a, b, c, d = memory.gate(gate)
        first, second, third = (memory.get(total) for total in sums)
        whole = memory.load(norm)
        found = (
            whole * a - first * b - second * c - third * d,
            whole * b + first * a - second * d + third * c,
            second * a - third * b + whole * c + first * d,
            second * b + third * a + whole * d - first * c,
        )
        for part, value in enumerate(found):
            memory.store(value, memory.offset(grad, part * ROW))

    return written_for_lanes("unturn", 9, body)


@written
def shift(_: Any, state: Any, places: Any, signs: Any, phases: Any, count: Any) -> Any:
    """Multiply amplitudes with their signs and with exp(i phase); phases [2^n, LANES]."""

    def body(memory: Lanes, state: Any, places: Any, signs: Any, phases: Any, count: Any) -> None:
        with memory.loop(count) as k:
            at, factor = memory.place(state, places, k), circle(memory.load(memory.after(phases, k, ROW)))
            memory.put_pair(times(scaled(memory.get_pair(at), memory.sign(signs, k)), factor), at)

    return written_for_lanes("shift", 5, body)


@written
def unshift(_: Any, state: Any, dual: Any, places: Any, signs: Any, phases: Any, grad: Any, count: Any) -> Any:
    """Take state and dual back through `shift`; the gradients [2^n, LANES] of the phases are written to `grad`."""

    def body(memory: Lanes, state: Any, dual: Any, places: Any, signs: Any, phases: Any, grad: Any, count: Any) -> None:
        with memory.loop(count) as k:
            at = [memory.place(base, places, k) for base in (state, dual)]
            x, u = (memory.get_pair(address) for address in at)
            memory.store(u[1] * x[0] - u[0] * x[1], memory.after(grad, k, ROW))
            cosine, sine = circle(memory.load(memory.after(phases, k, ROW)))
            factor = scaled([cosine, sine * -1.0], memory.sign(signs, k))
            for value, address in zip((x, u), at, strict=True):
                memory.put_pair(times(value, factor), address)

    return written_for_lanes("unshift", 7, body)


@written
def square(_: Any, state: Any, places: Any, out: Any, count: Any) -> Any:
    """Probabilities [2^n, LANES] of a state."""

    def body(memory: Lanes, state: Any, places: Any, out: Any, count: Any) -> None:
        with memory.loop(count) as k:
            real, imaginary = memory.get_pair(memory.place(state, places, k))
            memory.store(real * real + imaginary * imaginary, memory.after(out, k, ROW))

    return written_for_lanes("square", 4, body)


@written
def fold(_: Any, sums: Any, last: Any, z: Any, zz: Any, count: Any) -> Any:
    """Sum over the lowest qubit of `sums` [2 count, LANES], and write its mean <Z> to z.

    last: differences [2 count, LANES] over the qubit before, which become those over this one. zz: where <Z Z> of both
    goes. 0: there is none.
    """

    def body(memory: Lanes, sums: Any, last: Any, z: Any, zz: Any, count: Any) -> None:
        builder, (mean, both) = memory.builder, (memory.variable() for _ in range(2))

        def halves(paired: bool) -> None:
            with memory.loop(count) as j:
                at = memory.after(sums, j, 2 * ROW)
                low, high = memory.load(at), memory.load(memory.offset(at, ROW))
                difference = low - high
                memory.set(mean, memory.get(mean) + difference)
                memory.store(low + high, memory.after(sums, j, ROW))
                if paired:
                    at = memory.after(last, j, 2 * ROW)
                    memory.set(both, memory.get(both) + memory.load(at) - memory.load(memory.offset(at, ROW)))
                    memory.store(difference, memory.after(last, j, ROW))

        with builder.if_else(builder.icmp_signed("!=", last, last.type(0))) as (some, none):
            with some:
                halves(True)
            with none:
                halves(False)
        memory.store(memory.get(mean), z)
        with builder.if_then(builder.icmp_signed("!=", zz, zz.type(0))):
            memory.store(memory.get(both), zz)

    return written_for_lanes("fold", 5, body)


@written
def unfold(_: Any, weights: Any, z: Any, zz: Any, sign: Any, count: Any, beyond: Any) -> Any:
    """Weights w [count, LANES] of basis states become those of a further qubit: w + t, and w - t at `beyond` bytes on.

    t is the gradient at <Z>, and `sign` times the one at <Z Z>, where there is one (not 0).
    """

    def body(memory: Lanes, weights: Any, z: Any, zz: Any, sign: Any, count: Any, beyond: Any) -> None:
        builder, term = memory.builder, memory.variable()
        memory.set(term, memory.load(z))
        with builder.if_then(builder.icmp_signed("!=", zz, zz.type(0))):
            memory.set(term, memory.load(zz) * memory.number(sign) + memory.get(term))
        added = memory.get(term)
        with memory.loop(count) as k:
            at = memory.after(weights, k, ROW)
            value = memory.load(at)
            memory.store(value + added, at)
            memory.store(value - added, builder.add(at, beyond))

    return written_for_lanes("unfold", 6, body)


@written
def weigh(_: Any, saved: Any, weights: Any, places: Any, state: Any, dual: Any, norm: Any, count: Any) -> Any:
    """Copy a saved state, and write its dual, 2 w times the amplitudes, and Re <dual|state>."""

    def body(
        memory: Lanes, saved: Any, weights: Any, places: Any, state: Any, dual: Any, norm: Any, count: Any
    ) -> None:
        total = memory.variable()
        with memory.loop(count) as k:
            from_, to, at = (memory.place(base, places, k) for base in (saved, state, dual))
            value, weight = memory.get_pair(from_), memory.load(memory.after(weights, k, ROW))
            other = scaled(value, weight + weight)
            memory.put_pair(value, to)
            memory.put_pair(other, at)
            memory.add_to(total, (value[0], other[0]), (value[1], other[1]), minus=())
        memory.store(memory.get(total), norm)

    return written_for_lanes("weigh", 7, body)
