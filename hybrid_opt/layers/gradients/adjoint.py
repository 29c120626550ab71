"""Plans on the CPU in float32 by compiled kernels, with the gradients of the adjoint method."""

from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from hybrid_opt.layers import compiled
from hybrid_opt.layers.compiled import CHUNK, Chains, Floats, Gates, Integers, Tables
from hybrid_opt.layers.lanes import LANES, ROW
from hybrid_opt.layers.plan import Plan
from hybrid_opt.layers.slots import SlotGates
from hybrid_opt.simd.threads import in_threads

SHARE = 1 << 22  # products of a gate and an amplitude that are worth a thread
_AXES = {0: 0, 3: 1, 2: 2, 1: 3}  # of the component that a rotation moves to the first place
_NONE = np.zeros((1, 0), np.float32)
_NUMBERS, _PLACES = _NONE[0], np.zeros(0, np.int32)
_NO_CHAINS = Chains(np.zeros((0, 0), np.int32), np.zeros((0, 0), np.int32))


class Rotations(NamedTuple):
    """How gates are made of angles."""

    own: Chains  # of each row
    shared: Chains
    origin: Integers = _PLACES


_tables: WeakKeyDictionary[Plan, Tables] = WeakKeyDictionary()
_chains: WeakKeyDictionary[SlotGates, Rotations] = WeakKeyDictionary()


def tables_of(plan: Plan) -> Tables:
    """Return a plan as the kernels read it. It is asked for again and again."""
    if plan not in _tables:
        source, sign = plan.source.numpy(), plan.sign.numpy()
        places = np.empty((plan.slots + 1, 1 << plan.qubits), np.int32)
        places[0] = np.arange(1 << plan.qubits) * 2 * ROW
        for slot in range(plan.slots):
            places[slot + 1] = places[slot, source[slot]]
        signs = np.concatenate([np.ones_like(sign[:1]), sign[:-1]]).astype(np.float32)
        phased = np.array([plan.phased.index(s) if s in plan.phased else -1 for s in range(plan.slots)], np.int32)
        readout = {"z": compiled.Z, "zz": compiled.ZZ, "probabilities": compiled.PROBABILITIES}[plan.readout]
        _tables[plan] = Tables(plan.qubits, readout, places, signs, (signs < 0).any(1).astype(np.int32), phased)
    return _tables[plan]


def chains_of(slot_gates: SlotGates) -> Rotations:
    """Return the rotations of each gate by the data, and those that are trained, as the kernels read them."""
    if slot_gates not in _chains:
        found = []
        for place, source in (
            (slot_gates.data_place, slot_gates.data_source),
            (slot_gates.trained_place, slot_gates.trained_source),
        ):
            axes = np.vectorize(_AXES.get, otypes=[np.int32])(source[..., 0].numpy())
            flat = place.flatten(1).int().numpy()
            found.append(Chains(axes.reshape(flat.shape), flat))
        _chains[slot_gates] = Rotations(found[0], found[1])
    return _chains[slot_gates]


class Adjoint(torch.autograd.Function):
    """Means [N, outputs] of a plan. Its tensors have gradients.

    gates: [N, S, n, 4]; None: those of `chains` of rotations by data [N, R], and by angles [W] that rows share.
    scale: [R]; then the data are [N, I], and angle r is scale[r] times number `origin[r]` of them; or None.
    phases: [N, P, 2^n] or None. start: [N, 2, 2^n] or None.
    """

    @staticmethod
    def forward(ctx: Any, plan: Plan, chains: Rotations | None, keep: bool, *tensors: Tensor | None) -> Tensor:
        """keep: whether there may be a backward pass. tensors: gates, data, trained, scale, phases, start."""
        gates, data, trained, scale, phases, start = tensors
        rows = len(next(x for x in (gates, data) if x is not None))
        blocks = -(-rows // LANES)
        out = torch.empty(rows, plan.outputs)
        saved = torch.empty(blocks * 2 << plan.qubits if keep and any(ctx.needs_input_grad) else 0, LANES)
        given = (tables_of(plan), _gates(chains, gates, data, trained, scale), _array(phases), _array(start))
        targets = (out.numpy(), saved.numpy())
        _share(plan, blocks, 1, lambda *part: compiled.forward(*given, *targets, *part))
        ctx.plan, ctx.chains = plan, chains
        ctx.save_for_backward(*tensors, saved)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        found = _Backward.apply(ctx.plan, ctx.chains, grad, *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        return None, None, None, *found


class _Backward(torch.autograd.Function):
    """The gradients of the tensors of `Adjoint`.

    A function of its own: `once_differentiable` takes them as constants where the outputs' gradient is one, so that a
    penalty on gradients would be without effect.
    """

    @staticmethod
    def forward(ctx: Any, plan: Plan, chains: Rotations | None, grad: Tensor, *kept: Tensor | None) -> Any:
        *tensors, saved = kept
        gates, data, trained, scale, phases, start = tensors
        found = [None if x is None else torch.empty(x.shape) for x in tensors]
        of_rows, chunks = _gates(chains, gates, data, trained, scale), -(-len(grad) // (LANES * CHUNK))
        at_shared = np.empty((chunks * (4 * of_rows.own.axes.shape[1] + len(of_rows.scale)), LANES), np.float32)
        given = (tables_of(plan), of_rows, _array(phases), start is None, _array(saved), _array(grad))
        targets = (_array(found[0]), _array(found[1]), at_shared, _array(found[4]), _array(found[5]))
        _share(plan, chunks, CHUNK, lambda *part: compiled.backward(*given, *targets, *part))
        if found[2] is not None:
            at_scale = _NUMBERS if found[3] is None else found[3].numpy()
            compiled.unchained(of_rows, at_shared, found[2].numpy(), at_scale)
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError("second derivatives of a circuit: the compiled engine has none; float64 tensors have")


def _gates(
    chains: Rotations | None,
    gates: Tensor | None,
    data: Tensor | None,
    trained: Tensor | None,
    scale: Tensor | None,
) -> Gates:
    """The gates of rows as the kernels read them."""
    if chains is None or trained is None:
        return Gates(_array(gates), _NO_CHAINS, _NONE[:0], _PLACES, _NUMBERS, _NO_CHAINS, _NUMBERS)
    scales = _NUMBERS if scale is None else scale.detach().contiguous().numpy()
    own, shared, origin = chains
    return Gates(_NONE[:0], own, _array(data), origin, scales, shared, trained.detach().contiguous().numpy())


def _array(x: Tensor | None) -> Floats:
    """The numbers of a tensor [N, ...] as [N, F], which are not copied if they lie so; [0, 0] for none."""
    return _NONE[:0] if x is None else x.detach().contiguous().flatten(1).numpy()


def _share(plan: Plan, units: int, blocks: int, work: Callable[[int, int], None]) -> None:
    """work(begin, end) of all units of so many blocks, in as many threads as pay, whose number changes no digit."""
    size = units * blocks * LANES * plan.slots * plan.qubits << plan.qubits
    parts = max(1, min(torch.get_num_threads(), units, size // SHARE))
    in_threads(lambda part: work(units * part // parts, units * (part + 1) // parts), parts)
