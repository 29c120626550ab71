"""What surrounds the products of layers, a row from memory once: for heads that a compiled rollout has passed, and for
agents without kernels of their own.

Operators of PyTorch pass over all rows for every term of a formula. Here a row [F] stays in registers or in the nearest
cache from its first term to its last. The last register of a row overlaps the one before unless F is a multiple of 16;
`fresh` is 0 in the lanes that were seen before, else 1. In float32.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hybrid_opt.simd import registers
from hybrid_opt.simd.registers import BYTES, Memory, Vector, routine, written
from hybrid_opt.simd.threads import aside, in_threads
from worldmodel.kernels.supported import REGISTER, exact
from worldmodel.model import layers
from worldmodel.model.heads.mlp import MLPHead
from worldmodel.model.layers import EPS

SHARE = 2**15  # numbers that are worth a thread


def _each(memory: Memory, count: Any, fresh: Any, use: Callable[[Any, Vector | None], None]) -> None:
    """use(offset, fresh) for every register of a row of `count` numbers, offset in bytes; fresh: of the last alone."""
    builder = memory.builder
    with memory.loop(builder.sdiv(builder.sub(count, count.type(1)), count.type(REGISTER))) as k:
        use(builder.mul(k, count.type(BYTES)), None)
    use(builder.mul(builder.sub(count, count.type(REGISTER)), count.type(4)), memory.load(fresh))


def _add(memory: Memory, variable: Any, value: Vector, fresh: Vector | None) -> None:
    memory.set(variable, memory.get(variable) + value if fresh is None else value * fresh + memory.get(variable))


def _inverse_rms(memory: Memory, x: Any, fresh: Any, count: Any) -> tuple[Vector, Vector]:
    """1 / rms(x), and the number of features."""
    sum_, number = memory.variable(), memory.number(count)

    def add(at: Any, new: Vector | None) -> None:
        value = memory.load(memory.builder.add(x, at))
        _add(memory, sum_, value * value, new)

    _each(memory, count, fresh, add)
    mean = memory.get(sum_).sum() / number + EPS
    return mean.constant([1.0] * REGISTER) / mean.root(), number


@written
def _norm_silu(_: Any, x: Any, scale: Any, y: Any, fresh: Any, count: Any) -> Any:
    """y = silu(x / rms(x) * scale)"""

    def body(memory: Memory, x: Any, scale: Any, y: Any, fresh: Any, count: Any) -> None:
        factor, _ = _inverse_rms(memory, x, fresh, count)

        def write(at: Any, _: Vector | None) -> None:
            from_, weight, to = (memory.builder.add(place, at) for place in (x, scale, y))
            value = memory.load(from_) * factor * memory.load(weight)
            memory.store(value / ((value * -1.0).exp() + 1.0), to)

        _each(memory, count, fresh, write)

    return routine("rows.norm_silu", 5, body)


@written
def _norm_silu_backward(
    _: Any, grad: Any, x: Any, scale: Any, dx: Any, shares: Any, biases: Any, scratch: Any, fresh: Any, count: Any
) -> Any:
    """The gradient at `_norm_silu` taken to x; what it adds to those of the scale and of a bias before, to the sums."""

    def body(
        memory: Memory,
        grad: Any,
        x: Any,
        scale: Any,
        dx: Any,
        shares: Any,
        biases: Any,
        scratch: Any,
        fresh: Any,
        count: Any,
    ) -> None:
        (factor, number), sum_, add = _inverse_rms(memory, x, fresh, count), memory.variable(), memory.builder.add

        def slope(at: Any, new: Vector | None) -> None:
            given, value, weight = (memory.load(add(place, at)) for place in (grad, x, scale))
            normed = value * factor
            scaled = normed * weight
            gate = scaled.sigmoid()
            rise = given * (gate * ((gate * -1.0 + 1.0) * scaled + 1.0))
            share = rise * normed
            total = add(shares, at)
            memory.store((share if new is None else share * new) + memory.load(total), total)
            _add(memory, sum_, share * weight, new)
            memory.store(rise * weight, add(scratch, at))

        _each(memory, count, fresh, slope)
        mean = memory.get(sum_).sum() / number * factor

        def project(at: Any, new: Vector | None) -> None:
            found = (memory.load(add(scratch, at)) - memory.load(add(x, at)) * mean) * factor
            memory.store(found, add(dx, at))
            total = add(biases, at)
            memory.store((found if new is None else found * new) + memory.load(total), total)

        _each(memory, count, fresh, project)

    return routine("rows.norm_silu_backward", 9, body)


@registers.cached(registers, layers)
def _norm_silu_rows(x: int, scale: int, y: int, fresh: int, width: int, begin: int, end: int) -> None:
    for at in range(4 * width * begin, 4 * width * end, 4 * width):
        _norm_silu(x + at, scale, y + at, fresh, width)


@registers.cached(registers, layers)
def _norm_silu_backward_rows(
    grad: int, x: int, scale: int, dx: int, sums: int, fresh: int, width: int, begin: int, end: int
) -> None:
    """sums: of the scale, of the bias and scratch, one after the other."""
    parts = (sums, sums + 4 * width, sums + 8 * width)
    for at in range(4 * width * begin, 4 * width * end, 4 * width):
        _norm_silu_backward(grad + at, x + at, scale, dx + at, parts[0], parts[1], parts[2], fresh, width)


@cache
def _fresh(width: int) -> Tensor:
    return (torch.arange(REGISTER) >= -width % REGISTER).float()


def _parts(x: Tensor) -> int:
    return max(1, min(torch.get_num_threads(), x.numel() // SHARE))


def _address(x: Tensor) -> int:
    """Of the numbers of a tensor that lie in the order of its axes, and must be kept until they have been used."""
    assert x.is_contiguous() and x.dtype == torch.float32
    return x.data_ptr()


def _norm_silu_of(pre: Tensor, scale: Tensor) -> Tensor:
    y, (rows, width), parts = torch.empty_like(pre), pre.shape, _parts(pre)
    fresh = _fresh(width)  # kept to the end: two first calls at once make two, of which the cache keeps one
    addresses = [_address(tensor) for tensor in (pre, scale, y, fresh)]
    in_threads(lambda part: _norm_silu_rows(*addresses, width, rows * part // parts, rows * (part + 1) // parts), parts)
    return y


def _back(grad: Tensor, pre: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient [N, F] at `_norm_silu_of` taken to pre [N, F], those of the scale and of a bias in pre, both [F]."""
    at_pre, given = torch.empty_like(pre), grad.contiguous()
    (count, width), parts = pre.shape, _parts(pre)
    sums = torch.zeros(parts, 3, width)
    addresses = [_address(tensor) for tensor in (given, pre, scale, at_pre)]
    mask = _fresh(width)  # kept, as above
    fresh = _address(mask)

    def work(part: int) -> None:
        begin, end = count * part // parts, count * (part + 1) // parts
        _norm_silu_backward_rows(*addresses, _address(sums[part]), fresh, width, begin, end)

    in_threads(work, parts)
    at_scale, at_bias, _ = sums.sum(0)
    return at_pre, at_scale, at_bias


class NormSiLU(torch.autograd.Function):
    """SiLU(x / rms(x) * scale) of x [..., F]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).contiguous()
        ctx.save_for_backward(rows, scale)
        return _norm_silu_of(rows, scale).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        rows, scale = ctx.saved_tensors
        at_x, at_scale, _ = _back(grad.reshape(rows.shape), rows, scale)
        return at_x.view(grad.shape), at_scale


def norm_silu(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    """Take the place of `layers.norm_silu_passes`; what is not float32 goes there."""
    if not exact(x) or eps != EPS or x.shape[-1] < REGISTER:
        return layers.norm_silu_passes(x, scale, eps)
    y: Tensor = NormSiLU.apply(x, scale)  # type: ignore[no-untyped-call]
    return y


class PassedHead(torch.autograd.Function):
    """What a MLPHead [N, O] has given for rows x [N, I], which have no gradient; pre [layers, N, U] entered its norms.

    weights: of each layer the matrix, bias and scale, of the output the matrix and bias.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, pre: Tensor, out: Tensor, threads: int, *weights: Tensor) -> Tensor:
        ctx.threads = threads
        ctx.save_for_backward(x, pre, *weights)
        return out.view_as(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, pre, *weights, matrix, _ = ctx.saved_tensors
        scales, sums, products = weights[2::3], [grad.sum(0)], []
        for number in range(len(pre) - 1, -1, -1):
            products.append(aside(partial(_product, grad, pre[number], scales[number]), ctx.threads))
            at_pre, at_scale, at_bias = _back(grad @ matrix, pre[number], scales[number])
            sums += at_scale, at_bias
            grad, matrix = at_pre, weights[3 * number]
        found = [grad.t() @ x]
        for product in reversed(products):
            found += sums.pop(), sums.pop(), product.result()
        return None, None, None, None, *found, sums.pop()


def _product(grad: Tensor, pre: Tensor, scale: Tensor) -> Tensor:
    """The gradient of the weights of the layer after, whose own output has the gradient `grad` [N, O]."""
    return grad.t() @ _norm_silu_of(pre, scale)


def head(net: MLPHead, x: Tensor, pre: Tensor, out: Tensor, threads: int = 1) -> Tensor:
    """`out` [..., O], which `net` has given for x [..., I], with the gradients of its weights; pre [layers, ..., U].

    threads: that the backward pass may use.
    """
    weights = [part for linear, norm in net.trunk.pairs() for part in (linear.weight, linear.bias, norm.weight)]
    rows = (x.flatten(0, -2), pre.flatten(1, -2), out.flatten(0, -2))
    passed: Tensor = PassedHead.apply(*rows, threads, *weights, net.out.weight, net.out.bias)  # type: ignore[no-untyped-call]
    return passed.view(out.shape)
