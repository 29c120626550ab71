"""Plans on the CPU in float32 by compiled kernels, with the gradients of the adjoint method."""

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from hybrid_opt.layers import compiled
from hybrid_opt.layers.compiled import Floats, Integers
from hybrid_opt.layers.passes import LANES, ROW
from hybrid_opt.layers.plan import Plan
from hybrid_opt.simd.threads import in_threads

SHARE = 1 << 22  # products of a gate and an amplitude that are worth a thread


class Tables(NamedTuple):
    """A plan as the kernels read it."""

    qubits: int
    readout: int
    places: Integers
    signs: Floats
    signed: Integers
    phased: Integers


_known: WeakKeyDictionary[Plan, Tables] = WeakKeyDictionary()


def _tables(plan: Plan) -> Tables:
    """The tables of a plan, which is asked for again and again."""
    if plan not in _known:
        source, sign = plan.source.numpy(), plan.sign.numpy()
        places = np.empty((plan.slots + 1, 1 << plan.qubits), np.int32)
        places[0] = np.arange(1 << plan.qubits) * 2 * ROW
        for slot in range(plan.slots):
            places[slot + 1] = places[slot, source[slot]]
        signs = np.concatenate([np.ones_like(sign[:1]), sign[:-1]]).astype(np.float32)
        phased = np.array([plan.phased.index(s) if s in plan.phased else -1 for s in range(plan.slots)], np.int32)
        readout = {"z": compiled.Z, "zz": compiled.ZZ, "probabilities": compiled.PROBABILITIES}[plan.readout]
        _known[plan] = Tables(plan.qubits, readout, places, signs, (signs < 0).any(1).astype(np.int32), phased)
    return _known[plan]


class Adjoint(torch.autograd.Function):
    """`means` [N, outputs] of a plan: gates [N, S, n, 4], phases [N, P, 2^n] and start [N, 2, 2^n] have gradients."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, keep: bool, gates: Tensor, phases: Tensor | None, start: Tensor | None) -> Tensor:
        """keep: whether there may be a backward pass."""
        blocks = -(-len(gates) // LANES)
        out = gates.new_empty(len(gates), plan.outputs)
        saved = gates.new_empty(blocks * 2 << plan.qubits if keep and any(ctx.needs_input_grad) else 0, LANES)
        tables, arrays = _tables(plan), [_array(x) for x in (gates, phases, start)]
        _share(plan, blocks, lambda *part: compiled.forward(*tables, *arrays, out.numpy(), saved.numpy(), *part))
        ctx.plan = plan
        ctx.save_for_backward(gates, phases, start, saved)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *_Backward.apply(ctx.plan, grad, *ctx.saved_tensors)  # type: ignore[no-untyped-call]


class _Backward(torch.autograd.Function):
    """The gradients of the arguments of `Adjoint`.

    A function of its own: `once_differentiable` takes them as constants where the outputs' gradient is one, so that a
    penalty on gradients would be without effect.
    """

    @staticmethod
    def forward(ctx: Any, plan: Plan, grad: Tensor, *kept: Tensor | None) -> tuple[Tensor | None, ...]:
        gates, phases, start, saved = kept
        assert gates is not None and saved is not None
        tables, blocks = _tables(plan), -(-len(gates) // LANES)
        found = [torch.empty(x.shape) if x is not None else None for x in (gates, phases, start)]
        inputs, targets = [_array(x) for x in (gates, phases)], [_array(x) for x in (grad, *found)]
        states = saved.numpy()
        _share(plan, blocks, lambda *part: compiled.backward(*tables, *inputs, start is None, states, *targets, *part))
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError("second derivatives of a circuit: the compiled engine has none; float64 tensors have")


def _array(x: Tensor | None) -> Floats:
    """The numbers of a tensor [N, ...] as [N, F], which are not copied if they lie so; [0, 0] for none."""
    array: Floats = (torch.empty(0, 0) if x is None else x.detach().contiguous().flatten(1)).numpy()
    return array


def _share(plan: Plan, blocks: int, work: Any) -> None:
    """work(begin, end) of all blocks, in as many threads as pay. The digits do not depend on their number."""
    size = blocks * LANES * plan.slots * plan.qubits << plan.qubits
    parts = max(1, min(torch.get_num_threads(), blocks, size // SHARE))
    in_threads(lambda part: work(blocks * part // parts, blocks * (part + 1) // parts), parts)
