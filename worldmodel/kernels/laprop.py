"""A step of LaProp in one pass over memory, where PyTorch's operators take ten."""

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import carray, types  # type: ignore[attr-defined]
from torch import Tensor

from hybrid_opt.simd import registers
from hybrid_opt.simd.registers import cached, written
from hybrid_opt.simd.threads import in_threads

SHARE = 2**17  # numbers that are worth a thread


@written
def _floats(_: Any, address: Any) -> Any:
    """The pointer to floats at an address."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(types.intp), codegen  # type: ignore[no-untyped-call]


@cached(registers)
def _steps(table: Any, scalars: Any, slow: Any, keep: Any, take: Any, eps: Any, part: int, parts: int) -> None:
    """table: of each tensor its size, and the addresses of weights, gradient, mean and mean square.

    scalars: of each tensor the factor of its gradient, the bias correction of its mean square, and its rate.
    """
    for number in range(len(table)):
        size, weights, gradient, first, second = table[number]
        factor, correction, rate = scalars[number]
        begin, end = size * part // parts, size * (part + 1) // parts
        weight, grad = carray(_floats(weights), size)[begin:end], carray(_floats(gradient), size)[begin:end]
        mean, square = carray(_floats(first), size)[begin:end], carray(_floats(second), size)[begin:end]
        for k in range(len(weight)):
            slope = grad[k] * factor
            square[k] = square[k] * keep + take * slope * slope
            scaled = slope / (np.sqrt(square[k] / correction) + eps)
            mean[k] += slow * (scaled - mean[k])
            weight[k] += mean[k] * rate


def steps(params: list[Tensor], states: list[dict[str, Any]], factors: Tensor, group: dict[str, Any]) -> None:
    """Move parameters by their gradients [P], each times its factor; the states count this step already.

    Parameters and moments are float32, on the CPU and contiguous.
    """
    beta1, beta2, counts = group["beta1"], group["beta2"], np.array([state["step"] for state in states])
    grads = [p.grad.contiguous() for p in params if p.grad is not None]
    rows = zip(params, grads, states, strict=True)
    table = [(p.numel(), *(x.data_ptr() for x in (p, g, s["mean"], s["square"]))) for p, g, s in rows]
    rates = -group["lr"] * np.minimum(1, counts / max(1, group["warmup"])) / (1 - beta1**counts)
    scalars = np.stack([factors.numpy(), 1 - beta2**counts, rates], 1).astype(np.float32)
    decay = [np.float32(x) for x in (1 - beta1, beta2, 1 - beta2, group["eps"])]
    parts = max(1, min(torch.get_num_threads(), sum(row[0] for row in table) // SHARE))
    in_threads(lambda part: _steps(np.array(table), scalars, *decay, part, parts), parts)
    torch.autograd.graph.increment_version(params)  # as operators do: packed weights are made anew by it
