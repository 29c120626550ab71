"""Arithmetic on whole vector registers: what the intrinsics of compiled kernels are written with.

A register holds 64 bytes, that is 16 floats or 8 doubles; where the processor's are shorter, the compiler splits it.
Addresses and strides are in bytes.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

BYTES = 64  # of a register
written: Decorator = intrinsic(prefer_literal=True)
_FUSED = ("contract",)  # multiplications and additions may become one operation
_LN2 = (0.693359375, -2.12194440e-4)  # its first bits, and the rest
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)


def cached(*modules: ModuleType, **options: Any) -> Decorator:
    """numba.njit without the interpreter's lock, whose code is kept on disk until a source of it changes.

    modules: whose functions and constants it takes; numba itself looks at the file of the function alone. options: of
    numba.njit; error_model is "numpy" unless given.
    """
    options = {"error_model": "numpy", **options}

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            dispatcher: Any = numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError as error:  # neither the package's folder nor the user's cache can be written
            if "no locator available" not in str(error):
                raise
            _keep_in_temporary_folder()
            dispatcher = numba.njit(nogil=True, cache=True, **options)(function)
        files = [Path(str(module.__file__)).stat() for module in modules]
        index = dispatcher._cache._cache_file
        index._source_stamp = (index._source_stamp, *((file.st_mtime, file.st_size) for file in files))
        kernel: Callable[..., Any] = dispatcher
        return kernel

    return compiled


def _keep_in_temporary_folder() -> None:
    """Have this process and its children keep compiled code in a folder of their own until this process ends."""
    owner, folder, config = os.getpid(), tempfile.mkdtemp(prefix="numba-"), vars(numba.config)
    os.environ["NUMBA_CACHE_DIR"] = config["CACHE_DIR"] = folder

    def forget() -> None:
        if os.getpid() == owner:  # forked children leave it to us
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(forget)
    print(
        f"compiled kernels cannot be kept: no cache folder can be written. They go to {folder} for this run; "
        "set NUMBA_CACHE_DIR to a folder that can be written",
        file=sys.stderr,
    )


class Vector:
    """A register in a kernel that is being written: its arithmetic emits instructions."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    @property
    def lanes(self) -> int:
        return int(self.value.type.count)

    @property
    def single(self) -> bool:
        """Whether its numbers are floats, not doubles."""
        return isinstance(self.value.type.element, ir.FloatType)

    def _of(self, other: Vector | float) -> Any:
        return other.value if isinstance(other, Vector) else self.constant([other] * self.lanes).value

    def __add__(self, other: Vector | float) -> Vector:
        return Vector(self.builder, self.builder.fadd(self.value, self._of(other), flags=_FUSED))

    def __sub__(self, other: Vector | float) -> Vector:
        return Vector(self.builder, self.builder.fsub(self.value, self._of(other), flags=_FUSED))

    def __mul__(self, other: Vector | float) -> Vector:
        return Vector(self.builder, self.builder.fmul(self.value, self._of(other), flags=_FUSED))

    def __truediv__(self, other: Vector | float) -> Vector:
        return Vector(self.builder, self.builder.fdiv(self.value, self._of(other)))

    def constant(self, values: list[float]) -> Vector:
        """A register of the same type with these values."""
        kind = self.value.type
        return Vector(self.builder, ir.Constant(kind, [ir.Constant(kind.element, float(value)) for value in values]))

    def sum(self) -> Vector:
        """The sum of all lanes, in each of them."""
        result = self
        for bit in range(self.lanes.bit_length() - 1):
            result += result.flipped(bit)
        return result

    def flipped(self, bit: int) -> Vector:
        """Each lane has the value of the lane whose number differs in this bit."""
        order = [lane ^ (1 << bit) for lane in range(self.lanes)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), order)
        return Vector(self.builder, self.builder.shuffle_vector(self.value, self.value, mask))

    def minimum(self, other: Vector | float) -> Vector:
        """The smaller of both, lane by lane; NaN stays."""
        return self._unless(">", other)

    def maximum(self, other: Vector | float) -> Vector:
        """The larger of both, lane by lane; NaN stays."""
        return self._unless("<", other)

    def exceeds(self, other: Vector) -> Vector:
        """1 in the lanes where it is larger than the other, 0 elsewhere."""
        larger = self.builder.fcmp_ordered(">", self.value, other.value)
        return Vector(self.builder, self.builder.select(larger, self._of(1.0), self._of(0.0)))

    def fraction(self) -> Vector:
        """What is left after the nearest integer is taken away, in [-1/2, 1/2]."""
        return Vector(self.builder, self.builder.fsub(self.value, self._nearest()[0]))

    def root(self) -> Vector:
        """The square root."""
        name = f"llvm.sqrt.v{self.lanes}f{32 if self.single else 64}"
        kind, module = self.value.type, self.builder.module
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(kind, [kind]), name)
        return Vector(self.builder, self.builder.call(function, [self.value]))

    def exp(self) -> Vector:
        """The exponential of floats, to two units of the last digit; beyond +-87 that of +-87.

        By the polynomial of the Cephes library on [-ln 2 / 2, ln 2 / 2] and a power of two.
        """
        turns = self.maximum(-87.0).minimum(87.0)
        whole, bits = (turns * 1.44269504)._nearest()
        power = Vector(self.builder, whole)
        rest = turns - power * _LN2[0] - power * _LN2[1]
        total = rest * _EXP[0] + _EXP[1]
        for coefficient in _EXP[2:]:
            total = total * rest + coefficient
        total = total * (rest * rest) + (rest + 1.0)
        kind = ir.VectorType(ir.IntType(32), self.lanes)
        exponent = self.builder.add(self.builder.bitcast(bits, kind), ir.Constant(kind, [127] * self.lanes))
        scale = self.builder.shl(exponent, ir.Constant(kind, [23] * self.lanes))
        return total * Vector(self.builder, self.builder.bitcast(scale, self.value.type))

    def sigmoid(self) -> Vector:
        """1 / (1 + exp(-x)), of floats."""
        return self.constant([1.0] * self.lanes) / ((self * -1.0).exp() + 1.0)

    def _unless(self, sign: str, other: Vector | float) -> Vector:
        bound = self._of(other)
        beyond = self.builder.fcmp_ordered(sign, self.value, bound)
        return Vector(self.builder, self.builder.select(beyond, bound, self.value))

    def _nearest(self) -> tuple[Any, Any]:
        """The nearest integer, and a number whose last bits are that integer's."""
        magic = self.constant([1.5 * 2.0 ** (23 if self.single else 52)] * self.lanes).value
        bits = self.builder.fadd(self.value, magic)  # rounds: no place for bits below 1
        return self.builder.fsub(bits, magic), bits


class Memory:
    """Loads and stores of the registers of a kernel that is being written, its loops and its variables."""

    def __init__(self, builder: Any, scalar: Any) -> None:
        self.builder = builder
        self.kind = ir.VectorType(scalar, BYTES // (4 if isinstance(scalar, ir.FloatType) else 8))

    def load(self, address: Any) -> Vector:
        value = self.builder.load(self.builder.inttoptr(address, self.kind.as_pointer()))
        value.align = 4
        return Vector(self.builder, value)

    def store(self, vector: Vector, address: Any) -> None:
        self.builder.store(vector.value, self.builder.inttoptr(address, self.kind.as_pointer())).align = 4

    def put(self, vector: Vector, address: Any) -> None:
        """Store the first lane alone."""
        first = self.builder.extract_element(vector.value, ir.Constant(ir.IntType(32), 0))
        self.builder.store(first, self.builder.inttoptr(address, self.kind.element.as_pointer()))

    def rows(self, address: Any, stride: Any, count: int) -> list[Any]:
        """Addresses `stride` bytes apart."""
        steps = [self.builder.mul(stride, ir.Constant(stride.type, row)) for row in range(count)]
        return [self.builder.add(address, step) for step in steps]

    def after(self, address: Any, number: Any, size: int) -> Any:
        """The address `number` times `size` bytes on."""
        return self.builder.add(address, self.builder.mul(number, ir.Constant(address.type, size)))

    def offset(self, address: Any, size: int) -> Any:
        """The address so many bytes on."""
        return self.builder.add(address, ir.Constant(address.type, size))

    def all(self, scalar: Any) -> Vector:
        """The same value in all lanes."""
        undefined = ir.Constant(self.kind, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.kind.count), [0] * self.kind.count)
        return Vector(self.builder, self.builder.shuffle_vector(first, undefined, mask))

    def number(self, count: Any) -> Vector:
        """An integer in all lanes."""
        return self.all(self.builder.sitofp(count, self.kind.element))

    def spread(self, address: Any) -> Vector:
        """The scalar at an address in all lanes."""
        return self.all(self.builder.load(self.builder.inttoptr(address, self.kind.element.as_pointer())))

    def variable(self) -> Any:
        """A register that can be written again, 0 at first."""
        slot = cgutils.alloca_once(self.builder, self.kind)  # type: ignore[no-untyped-call]
        slot.align = BYTES
        self.builder.store(ir.Constant(self.kind, None), slot)
        return slot

    def get(self, variable: Any) -> Vector:
        return Vector(self.builder, self.builder.load(variable))

    def set(self, variable: Any, vector: Vector) -> None:
        self.builder.store(vector.value, variable)

    @contextmanager
    def loop(self, count: Any) -> Iterator[Any]:
        """What is written within is done for 0, 1, ... up to `count`."""
        with cgutils.for_range(self.builder, count) as loop:
            yield loop.index


def routine(name: str, count: int, body: Callable[..., None]) -> Any:
    """The type and the code of an intrinsic on floats, of `count` addresses and numbers: body(memory, *arguments)."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        procedure(name, ir.FloatType(), ir.VoidType(), builder, arguments, body)
        return context.get_dummy_value()

    return types.void(*[types.intp] * count), codegen


def procedure(name: str, scalar: Any, result: Any, builder: Any, arguments: Any, body: Any) -> Any:
    """Call a function of a kernel's own, which is written when it is first called.

    body(memory, *arguments) writes what it does and gives the value that is returned, of type `result`; None: nothing.
    """
    module = builder.module
    if name not in module.globals:
        function = ir.Function(module, ir.FunctionType(result, [argument.type for argument in arguments]), name)
        function.linkage = "linkonce_odr"
        function.attributes.add("noinline")
        inner = ir.IRBuilder(function.append_basic_block("entry"))
        value = body(Memory(inner, scalar), *function.args)
        inner.ret_void() if value is None else inner.ret(value)
    return builder.call(module.globals[name], arguments)
