"""What surrounds the products of a batch, on the processor, compiled: a row comes from memory once.

Operators of PyTorch pass over all rows for every term of a formula. Here a row [F] stays in registers or in the nearest
cache from its first term to its last. The last register of a row overlaps the one before unless F is a multiple of 16;
`fresh` is 0 in the lanes that were seen before, else 1. In float32, with gradients.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hybrid_opt.simulator import registers
from hybrid_opt.simulator.registers import BYTES, Memory, Vector, routine, written
from worldmodel import nets
from worldmodel.machine import aside, in_threads
from worldmodel.nets import EPS, REGISTER, Head

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


@written
def _total(_: Any, x: Any, top: Any, total: Any, fresh: Any, count: Any) -> Any:
    """The largest of a row, and the sum of exp(x - largest)."""

    def body(memory: Memory, x: Any, top: Any, total: Any, fresh: Any, count: Any) -> None:
        highest, sum_, add = _largest(memory, x, fresh, count), memory.variable(), memory.builder.add
        _each(memory, count, fresh, lambda at, new: _add(memory, sum_, (memory.load(add(x, at)) - highest).exp(), new))
        memory.put(highest, top)
        memory.put(memory.get(sum_).sum(), total)

    return routine("rows.total", 5, body)


@written
def _softmax(_: Any, x: Any, level: Any, factor: Any, y: Any, fresh: Any, count: Any) -> Any:
    """y = exp(x - level) * factor; of a row, level and factor are scalars."""

    def body(memory: Memory, x: Any, level: Any, factor: Any, y: Any, fresh: Any, count: Any) -> None:
        less, times, add = memory.spread(level), memory.spread(factor), memory.builder.add

        def write(at: Any, _: Vector | None) -> None:
            memory.store((memory.load(add(x, at)) - less).exp() * times, add(y, at))

        _each(memory, count, fresh, write)

    return routine("rows.softmax", 6, body)


@written
def _expected(_: Any, x: Any, bins: Any, out: Any, fresh: Any, count: Any) -> Any:
    """The expected value of a row of two-hot logits with `count` positive bins, tails paired as in `TwoHot.mean`."""

    def body(memory: Memory, x: Any, bins: Any, out: Any, fresh: Any, count: Any) -> None:
        add = memory.builder.add
        highest = _largest(memory, x, fresh, add(add(count, count), count.type(1)))
        up, down = memory.offset(x, 4), memory.after(memory.offset(x, 4), count, 4)
        total, sum_ = memory.variable(), memory.variable()

        def pair(at: Any, new: Vector | None) -> None:
            high, low = ((memory.load(add(place, at)) - highest).exp() for place in (up, down))
            _add(memory, total, high + low, new)
            _add(memory, sum_, (high - low) * memory.load(add(bins, at)), new)

        _each(memory, count, fresh, pair)
        middle = (memory.spread(x) - highest).exp()
        memory.put(memory.get(sum_).sum() / (memory.get(total).sum() + middle), out)

    return routine("rows.expected", 5, body)


def _largest(memory: Memory, x: Any, fresh: Any, count: Any) -> Vector:
    """The largest of a row, in all lanes."""
    top, add = memory.variable(), memory.builder.add
    memory.set(top, memory.load(x))
    _each(memory, count, fresh, lambda at, _: memory.set(top, memory.load(add(x, at)).maximum(memory.get(top))))
    return memory.get(top).largest()


@registers.cached(registers, nets)
def _norm_silu_rows(x: int, scale: int, y: int, fresh: int, width: int, begin: int, end: int) -> None:
    for at in range(4 * width * begin, 4 * width * end, 4 * width):
        _norm_silu(x + at, scale, y + at, fresh, width)


@registers.cached(registers, nets)
def _norm_silu_backward_rows(
    grad: int, x: int, scale: int, dx: int, sums: int, fresh: int, width: int, begin: int, end: int
) -> None:
    """sums: of the scale, of the bias and scratch, one after the other."""
    parts = (sums, sums + 4 * width, sums + 8 * width)
    for at in range(4 * width * begin, 4 * width * end, 4 * width):
        _norm_silu_backward(grad + at, x + at, scale, dx + at, parts[0], parts[1], parts[2], fresh, width)


@registers.cached(registers, nets)
def _total_rows(x: int, top: int, total: int, fresh: int, width: int, begin: int, end: int) -> None:
    for row in range(begin, end):
        _total(x + 4 * width * row, top + 4 * row, total + 4 * row, fresh, width)


@registers.cached(registers, nets)
def _softmax_rows(x: int, level: int, factor: int, y: int, fresh: int, width: int, begin: int, end: int) -> None:
    for row in range(begin, end):
        at = 4 * width * row
        _softmax(x + at, level + 4 * row, factor + 4 * row, y + at, fresh, width)


@registers.cached(registers, nets)
def _expected_rows(x: int, bins: int, out: int, fresh: int, half: int, begin: int, end: int) -> None:
    width = 2 * half + 1
    for row in range(begin, end):
        _expected(x + 4 * width * row, bins, out + 4 * row, fresh, half)


@cache
def _fresh(width: int) -> Tensor:
    return (torch.arange(REGISTER) >= -width % REGISTER).float()


def _parts(x: Tensor) -> int:
    return max(1, min(torch.get_num_threads(), x.numel() // SHARE))


def _address(x: Tensor) -> int:
    """Of the numbers of a tensor that lie in the order of its axes, and must be kept until they have been used."""
    assert x.is_contiguous() and x.dtype == torch.float32
    return x.data_ptr()


def _over(x: Tensor, kernel: Callable[..., Any], *others: Tensor, width: int | None = None) -> None:
    """kernel(x, others, fresh, width) over the rows of x [N, F], in several threads where they are many."""
    width = width or x.shape[1]
    addresses = [_address(tensor) for tensor in (x, *others, _fresh(width))]
    rows, parts = len(x), _parts(x)
    in_threads(lambda part: kernel(*addresses, width, rows * part // parts, rows * (part + 1) // parts), parts)


def _norm_silu_of(pre: Tensor, scale: Tensor) -> Tensor:
    y = torch.empty_like(pre)
    _over(pre, _norm_silu_rows, scale, y)
    return y


def _back(grad: Tensor, pre: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient [N, F] at `_norm_silu_of` taken to pre [N, F], those of the scale and of a bias in pre, both [F]."""
    at_pre, given = torch.empty_like(pre), grad.contiguous()
    (count, width), parts = pre.shape, _parts(pre)
    sums = torch.zeros(parts, 3, width)
    addresses = [_address(tensor) for tensor in (given, pre, scale, at_pre)]
    fresh = _address(_fresh(width))

    def work(part: int) -> None:
        begin, end = count * part // parts, count * (part + 1) // parts
        _norm_silu_backward_rows(*addresses, _address(sums[part]), fresh, width, begin, end)

    in_threads(work, parts)
    at_scale, at_bias, _ = sums.sum(0)
    return at_pre, at_scale, at_bias


class Layer(torch.autograd.Function):
    """SiLU(n / rms(n) * scale), n = x weight^T + bias: `Linear` and `NormAct`. [..., I] -> [..., O], O at least 16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        pre = torch.addmm(bias, rows, weight.t())
        ctx.save_for_backward(rows, weight, pre, scale)
        ctx.shape = x.shape
        return _norm_silu_of(pre, scale).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
        rows, weight, pre, scale = ctx.saved_tensors
        at_pre, at_scale, at_bias = _back(grad.reshape(pre.shape), pre, scale)
        at_x = (at_pre @ weight).view(ctx.shape) if ctx.needs_input_grad[0] else None
        return at_x, at_pre.t() @ rows, at_bias, at_scale


class PassedHead(torch.autograd.Function):
    """What a Head [N, O] has given for rows x [N, I], which have no gradient; pre [layers, N, U] entered its norms.

    weights: of each layer the matrix, bias and scale, of the output the matrix and bias.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, pre: Tensor, out: Tensor, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, pre, *weights)
        return out.view_as(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, pre, *weights, matrix, _ = ctx.saved_tensors
        scales, sums, products = weights[2::3], [grad.sum(0)], []
        for number in range(len(pre) - 1, -1, -1):
            products.append(aside(partial(_product, grad, pre[number], scales[number])))
            at_pre, at_scale, at_bias = _back(grad @ matrix, pre[number], scales[number])
            sums += at_scale, at_bias
            grad, matrix = at_pre, weights[3 * number]
        found = [grad.t() @ x]
        for product in reversed(products):
            found += sums.pop(), sums.pop(), product.result()
        return None, None, None, *found, sums.pop()


def _product(grad: Tensor, pre: Tensor, scale: Tensor) -> Tensor:
    """The gradient of the weights of the layer after, whose own output has the gradient `grad` [N, O]."""
    return grad.t() @ _norm_silu_of(pre, scale)


def head(net: Head, x: Tensor, pre: Tensor, out: Tensor) -> Tensor:
    """`out` [..., O], which `net` has given for x [..., I], with the gradients of its weights; pre [layers, ..., U]."""
    weights = [part for linear, norm in net.trunk.pairs() for part in (linear.weight, linear.bias, norm.weight)]
    rows = (x.flatten(0, -2), pre.flatten(1, -2), out.flatten(0, -2))
    passed: Tensor = PassedHead.apply(*rows, *weights, net.out.weight, net.out.bias)  # type: ignore[no-untyped-call]
    return passed.view(out.shape)


class SparseCrossEntropy(torch.autograd.Function):
    """That of `twohot`, whose softmax is made on the way back only. logits [..., K]; place, share [..., M]."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, place: Tensor, share: Tensor) -> Tensor:
        rows = logits.reshape(-1, logits.shape[-1]).contiguous()
        top, total = torch.empty(2, len(rows))
        _over(rows, _total_rows, top, total)
        level: Tensor = total.log_().add_(top)
        ctx.save_for_backward(rows, level, place, share)
        losses: Tensor = share * (level.view(*place.shape[:-1], 1) - logits.gather(-1, place))
        return losses.sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        rows, level, place, share = ctx.saved_tensors
        share = share * grad.unsqueeze(-1)
        result = torch.empty_like(rows)
        _over(rows, _softmax_rows, level, share.sum(-1).flatten(), result)
        result = result.view(*place.shape[:-1], -1)
        return result.scatter_add_(-1, place, -share), None, None


def expected(logits: Tensor, bins: Tensor) -> Tensor:
    """The values [...] that two-hot logits [..., 2 K + 1] stand for; bins: the K positive ones. It has no gradient."""
    rows = logits.detach().reshape(-1, logits.shape[-1]).contiguous()
    values = torch.empty(len(rows))
    _over(rows, _expected_rows, bins, values, width=len(bins))
    return values.view(logits.shape[:-1])
