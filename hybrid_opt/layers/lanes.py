"""Blocks of LANES rows side by side, as the passes of the compiled engine are written for them.

The state of a block is [2^n, 2, LANES]: of each amplitude the real parts, then the imaginary parts.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir

from hybrid_opt.simd.registers import Memory, Vector, routine

LANES = 16 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 8  # floats of one register of the processor
ROW = 4 * LANES  # bytes
_WHOLE = (6.28125, 1.9350051879882812e-3, 3.0199159819e-7)  # 2 pi: two parts of few bits, and the rest
_SINE = (1.0, -1.6666666666e-1, 8.3333333333e-3, -1.9841269841e-4, 2.7557319224e-6, -2.5052108385e-8)
_COSINE = (1.0, -0.5, 4.1666666666e-2, -1.3888888888e-3, 2.4801587301e-5, -2.7557319224e-7, 2.0876756988e-9)

Pair = list[Vector]  # real and imaginary part of an amplitude


class Lanes(Memory):
    """The memory of a kernel that is being written for blocks of LANES rows."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory.builder, memory.kind.element)
        self.kind = ir.VectorType(self.kind.element, LANES)

    def place(self, base: Any, places: Any, k: Any) -> Any:
        """The address of amplitude k of the state at `base`."""
        entry = self.builder.load(self.builder.inttoptr(self.after(places, k, 4), ir.IntType(32).as_pointer()))
        return self.builder.add(base, self.builder.sext(entry, base.type))

    def sign(self, signs: Any, k: Any) -> Vector:
        """The sign of amplitude k in all lanes."""
        return self.spread(self.after(signs, k, 4))

    def get_pair(self, address: Any) -> Pair:
        return [self.load(address), self.load(self.offset(address, ROW))]

    def put_pair(self, parts: Pair, address: Any) -> None:
        self.store(parts[0], address)
        self.store(parts[1], self.offset(address, ROW))

    def gate(self, address: Any) -> list[Vector]:
        """The four coefficients of a gate."""
        return [self.load(self.offset(address, part * ROW)) for part in range(4)]

    def numbers(self, j: Any, bit: Any) -> tuple[Any, Any]:
        """The two basis states of pair j that differ in this bit."""
        builder, one = self.builder, j.type(1)
        below = builder.and_(j, builder.sub(builder.shl(one, bit), one))
        low = builder.or_(builder.shl(builder.sub(j, below), one), below)
        return low, builder.or_(low, builder.shl(one, bit))

    def add_to(self, variable: Any, *factors: tuple[Vector, Vector], minus: tuple[tuple[Vector, Vector], ...]) -> None:
        """Add products to a variable, and take those of `minus` away."""
        total = self.get(variable)
        for a, b in factors:
            total = a * b + total
        for a, b in minus:
            total = total - a * b
        self.set(variable, total)


def written_for_lanes(name: str, count: int, body: Callable[..., None]) -> Any:
    """A routine `circuit.NAME` of `count` arguments, whose body gets the Lanes and them."""
    return routine(f"circuit.{name}", count, lambda memory, *arguments: body(Lanes(memory), *arguments))


def times(x: Pair, y: Pair) -> Pair:
    """The product of complex numbers."""
    return [x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]]


def scaled(x: Pair, factor: Vector) -> Pair:
    """A complex number times a real one."""
    return [x[0] * factor, x[1] * factor]


def circle(angle: Vector) -> Pair:
    """Cosine and sine of radians, to some units of the last digit of 1: by the Taylor series at half of the angle."""
    whole = angle * 0.15915494309189535
    turns = whole - whole.fraction()
    half = angle
    for part in _WHOLE:
        half = half - turns * part
    half = (half * 0.5).maximum(-1.6).minimum(1.6)  # so that angles past all precision stay on the circle
    square = half * half
    sine, cosine = half.constant([_SINE[-1]] * LANES), half.constant([_COSINE[-1]] * LANES)
    for coefficient in _SINE[-2::-1]:
        sine = sine * square + coefficient
    for coefficient in _COSINE[-2::-1]:
        cosine = cosine * square + coefficient
    sine = sine * half
    twice = sine + sine
    return [twice * sine * -1.0 + 1.0, twice * cosine]
