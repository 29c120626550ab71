"""The block GRU of DreamerV3: one step forward, and a whole sequence with its backward pass through time.

Automatic differentiation would compute the gradient of every weight at every step. Here the backward loop carries the
gradient of the state alone; those of the weights are one product each, over all steps, after the loop. For small models
on the CPU the loops are compiled (`worldmodel.kernels`).

Shapes: T steps, N rows, D deter, Z = K S flat latents, H hidden, G blocks of P = D / G.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from worldmodel.model.batch import State
from worldmodel.model.categorical import UNIMIX, one_hot_sample
from worldmodel.model.cells.cell import Cell, reset
from worldmodel.model.layers import BlockLinear, Linear, NormAct, norm_silu, norm_silu_backward
from worldmodel.model.posterior import Posterior
from worldmodel.model.size import ModelSize


class Loops(NamedTuple):
    """A sequence forth and back in compiled code, for states that `fits` accepts, beside `_observe` here."""

    fits: Callable[[Tensor], bool]
    forward: Callable[..., tuple[Tensor, Tensor, Tensor, Any]]
    backward: Callable[..., "Gradients"]


class StepWeights(NamedTuple):
    """What a step is computed with: matrices [inputs, outputs] in the precision of the products, scales in float32."""

    deter: Tensor  # [D, H]
    deter_bias: Tensor  # [H]
    stoch: Tensor  # [Z, H]
    stoch_bias: Tensor  # [H]
    scale: Tensor  # [2, H], of the norms of both
    mix_deter: Tensor  # [G, P, P]
    mix_inputs: Tensor  # [2 H, D]
    mix_scale: Tensor  # [D]
    gates: Tensor  # [G, P, 3 P]
    gates_bias: Tensor  # [G, 1, 3 P]


class Weights(NamedTuple):
    """The same, and what the posterior is computed with."""

    deter: Tensor  # [D, H]
    deter_bias: Tensor  # [H]
    stoch: Tensor  # [Z, H]
    stoch_bias: Tensor  # [H]
    scale: Tensor  # [2, H], of the norms of both
    mix_deter: Tensor  # [G, P, P]
    mix_inputs: Tensor  # [2 H, D]
    mix_scale: Tensor  # [D]
    gates: Tensor  # [G, P, 3 P]
    gates_bias: Tensor  # [G, 1, 3 P]
    post_deter: Tensor  # [D, H]
    post_scale: Tensor  # [H]
    post_out: Tensor  # [H, Z]
    post_bias: Tensor  # [Z]


class SavedStep(NamedTuple):
    """What the backward pass needs of a step of the block GRU."""

    deter: Tensor  # [N, D], before the step
    normed: Tensor  # [N, 2, H], the inputs after normalisation
    inverse: Tensor
    inputs: Tensor  # [N, 2, H]
    mix_normed: Tensor  # [N, D]
    mix_inverse: Tensor
    mixed: Tensor  # [N, D]
    reset: Tensor  # [G, N, P]
    raw: Tensor
    candidate: Tensor
    update: Tensor


class SavedPosterior(NamedTuple):
    """What the backward pass needs of a step's posterior."""

    hidden: Tensor  # [N, H]
    normed: Tensor
    inverse: Tensor
    soft: Tensor  # [N, K, S], before mixing with the uniform distribution


def cell(
    w: StepWeights | Weights, deter: Tensor, stoch: Tensor, drive: Tensor, out: Tensor | None = None
) -> tuple[Tensor, SavedStep]:
    """One step of the block GRU: deter [N, D], stoch [N, Z] -> the next deter [N, D].

    drive [N, D]: what the action adds to the mixed inputs; it is overwritten. out: where the result is written.
    """
    wide, flat = deter.to(w.deter.dtype), stoch.to(w.stoch.dtype)
    pre = torch.stack([torch.addmm(w.deter_bias, wide, w.deter), torch.addmm(w.stoch_bias, flat, w.stoch)], 1)
    inputs, normed, inverse = norm_silu(pre, w.scale)
    joint = drive.addmm_(inputs.flatten(1), w.mix_inputs)
    groups = len(w.gates)
    _blocks(joint, groups).add_(torch.bmm(_blocks(wide, groups), w.mix_deter))
    mixed, mix_normed, mix_inverse = norm_silu(joint, w.mix_scale)
    gates = torch.bmm(_blocks(mixed, groups), w.gates).add_(w.gates_bias)
    reset, raw, update = gates.float().chunk(3, -1)  # [G, N, P] each
    reset.sigmoid_()
    update.sigmoid_()
    candidate = (reset * raw).tanh_()
    new = torch.empty_like(deter) if out is None else out
    torch.lerp(_blocks(deter, groups), candidate, update, out=_blocks(new, groups))
    saved = SavedStep(deter, normed, inverse, inputs, mix_normed, mix_inverse, mixed, reset, raw, candidate, update)
    return new, saved


def cell_backward(w: Weights, saved: SavedStep, grad: Tensor) -> tuple[Tensor, ...]:
    """The gradient [N, D] of the next deter taken back through the step.

    Gives those of deter [N, D] and stoch [N, Z] before it; then, for the weights, those at the inputs before their
    norms [N, 2, H], of the norms' scales [N, 2, H], at the mixed inputs [N, D], which is also that of the drive, of
    their norm's scale [N, D], and at the gates [N, G, 3 P].
    """
    dtype, groups = w.deter.dtype, len(w.gates)
    reset, raw, candidate, update = saved.reset, saved.raw, saved.candidate, saved.update
    new = _blocks(grad, groups)
    moved = new * update
    inner = torch.ops.aten.tanh_backward(moved, candidate)
    at_update = torch.ops.aten.sigmoid_backward(new * (candidate - _blocks(saved.deter, groups)), update)
    gates = torch.cat([torch.ops.aten.sigmoid_backward(inner * raw, reset), inner * reset, at_update], -1)
    mixed = torch.bmm(gates.to(dtype), w.gates.transpose(1, 2)).transpose(0, 1).flatten(1)
    joint, mix_scale = norm_silu_backward(mixed, saved.mix_normed, saved.mix_inverse, w.mix_scale)
    wide = joint.to(dtype)
    inputs = (wide @ w.mix_inputs.t()).view(saved.normed.shape)
    pre, scale = norm_silu_backward(inputs, saved.normed, saved.inverse, w.scale)
    at_deter, at_stoch = pre.to(dtype).unbind(1)
    before = (at_deter @ w.deter.t()).float().add_(grad)
    _blocks(before, groups).sub_(moved).add_(torch.bmm(_blocks(wide, groups), w.mix_deter.transpose(1, 2)))
    return before, at_stoch @ w.stoch.t(), pre, scale, joint, mix_scale, gates.transpose(0, 1)


class BlockGRU(Cell):
    """A GRU whose recurrent weights are block-diagonal. Shapes: H hidden, G blocks."""

    compiled = True

    def __init__(self, size: ModelSize, action: int) -> None:
        super().__init__()
        deter, hidden, blocks = size.deter, size.hidden, size.blocks
        per_block = deter // blocks
        self.deter_in, self.deter_norm = Linear(deter, hidden), NormAct(hidden)
        self.stoch_in, self.stoch_norm = Linear(size.stoch * size.classes, hidden), NormAct(hidden)
        self.action_in = nn.Sequential(Linear(action, hidden), NormAct(hidden))
        fan_in = size.block_fan_in(per_block + 3 * hidden)  # each block sees its part of deter and all inputs
        self.mix_deter = BlockLinear(blocks, per_block, per_block, fan_in, bias=False)
        self.mix_state = Linear(2 * hidden, deter, fan_in=fan_in, bias=False)
        self.mix_action = Linear(hidden, deter, fan_in=fan_in)  # its bias is that of the sum
        self.mix_norm = NormAct(deter)
        self.gates = BlockLinear(blocks, per_block, 3 * per_block, size.block_fan_in(per_block))
        assert self.gates.bias is not None
        nn.init.constant_(self.gates.bias[..., -per_block:], -1.0)  # the state is kept at first

    def drive(self, action: Tensor) -> Tensor:
        """The action's part of the inputs that are mixed: [..., A] -> [..., D]."""
        y: Tensor = self.mix_action(self.action_in(action))
        return y

    @torch.no_grad()
    def step(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """One step, which no gradient goes through."""
        drive = self.drive(action)
        return cell(StepWeights(**_cast(self.weights(), drive.dtype)), deter, stoch, drive)[0]

    def sequence(
        self,
        posterior: Posterior,
        seen: Tensor,
        action: Tensor,
        first: Tensor,
        noise: Tensor,
        state: State,
        loops: Loops | None = None,
    ) -> tuple[State, Tensor]:
        """Posterior states, with a backward pass of its own. The first state gets no gradient."""
        drive = self.drive(reset(action, first))
        weights = Weights(**_cast(self.weights() | posterior.weights(), drive.dtype))
        if loops is not None and not loops.fits(state.deter):
            loops = None
        inputs = (drive, seen, (~first).float(), noise, state.deter, state.stoch.flatten(-2))
        deter, stoch, probs = Recurrence.apply(loops, *inputs, *weights)  # type: ignore[no-untyped-call]
        return State(deter, stoch), probs

    def weights(self) -> dict[str, Tensor]:
        """What `StepWeights` has."""
        assert self.gates.bias is not None
        return {
            "deter": self.deter_in.weight.t(),
            "deter_bias": self.deter_in.bias,
            "stoch": self.stoch_in.weight.t(),
            "stoch_bias": self.stoch_in.bias,
            "scale": torch.stack([self.deter_norm.weight, self.stoch_norm.weight]),
            "mix_deter": self.mix_deter.weight,
            "mix_inputs": self.mix_state.weight.t(),
            "mix_scale": self.mix_norm.weight,
            "gates": self.gates.weight,
            "gates_bias": self.gates.bias,
        }


class Recurrence(torch.autograd.Function):
    """Posterior states of a sequence.

    apply(loops, drive [T, N, D], seen [T, N, H], keep [T, N, 1], noise [T, N, 1, S], deter [N, D], stoch [N, Z],
    *Weights) gives deter [T, N, D], samples [T, N, K, S], whose gradient goes to their probabilities
    (straight-through), and these probabilities [T, N, K, S]. drive and seen: what the actions add to the mixed inputs,
    and the embeddings to the posterior; keep: 0 where the state is reset; loops: compiled ones, or None. The first
    state gets no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        loops: Loops | None,
        drive: Tensor,
        seen: Tensor,
        keep: Tensor,
        noise: Tensor,
        deter: Tensor,
        stoch: Tensor,
        *rest: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        w, ctx.loops = Weights(*rest), loops
        forward = _observe if loops is None else loops.forward
        deters, stochs, probs, ctx.saved = forward(w, drive, seen, keep, noise, deter, stoch)
        ctx.save_for_backward(keep, deter, stoch, deters, stochs, probs, *w)
        return deters, stochs, probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, at_deters: Tensor, at_stochs: Tensor, at_probs: Tensor) -> tuple[Tensor | None, ...]:
        keep, deter, stoch, deters, stochs, probs, *rest = ctx.saved_tensors
        w = Weights(*rest)
        first = keep == 0
        before = reset(torch.cat([deter.unsqueeze(0), deters[:-1]]), first)
        flat = reset(torch.cat([stoch.unsqueeze(0), stochs[:-1].flatten(2)]), first).flatten(0, 1)
        at_soft = (at_stochs + at_probs).mul_(1 - UNIMIX)
        backward = _observe_backward if ctx.loops is None else ctx.loops.backward
        grads = backward(w, ctx.saved, keep, before, probs, at_deters, at_soft)
        before, shape, dtype, groups = before.flatten(0, 1), keep.shape[:2], w.deter.dtype, len(w.gates)
        pre_deter, pre_stoch = grads.pre.unbind(1)
        weights = Weights(
            deter=_product(before, pre_deter, dtype),
            deter_bias=pre_deter.sum(0),
            stoch=_product(flat, pre_stoch, dtype),
            stoch_bias=pre_stoch.sum(0),
            scale=grads.scale,
            mix_deter=_product(_blocks(before, groups), _blocks(grads.joint, groups), dtype),
            mix_inputs=_product(grads.inputs, grads.joint, dtype),
            mix_scale=grads.mix_scale,
            gates=_product(_blocks(grads.mixed, groups), grads.gates.transpose(0, 1), dtype),
            gates_bias=grads.gates.sum(0).unsqueeze(1),
            post_deter=_product(deters.flatten(0, 1), grads.seen, dtype),
            post_scale=grads.post_scale,
            post_out=_product(grads.hidden, grads.logits, dtype),
            post_bias=grads.logits.sum(0),
        )
        given = (g.to(p.dtype) for g, p in zip(weights, w, strict=True))
        return None, grads.joint.view(*shape, -1), grads.seen.view(*shape, -1), None, None, None, None, *given


class Gradients(NamedTuple):
    """What the way back gives for the gradients of the weights, of all T N rows.

    pre [T N, 2, H], joint [T N, D], gates [T N, G, 3 P], seen [T N, H] and logits [T N, Z] are gradients at what the
    matrices gave; scale [2, H], mix_scale [D] and post_scale [H] those of the norms; inputs [T N, 2 H], mixed [T N, D]
    and hidden [T N, H] what went into the matrices.
    """

    pre: Tensor
    joint: Tensor
    gates: Tensor
    seen: Tensor
    logits: Tensor
    scale: Tensor
    mix_scale: Tensor
    post_scale: Tensor
    inputs: Tensor
    mixed: Tensor
    hidden: Tensor


def _observe(
    w: Weights, drive: Tensor, seen: Tensor, keep: Tensor, noise: Tensor, deter: Tensor, stoch: Tensor
) -> tuple[Tensor, Tensor, Tensor, list[tuple[SavedStep, SavedPosterior]]]:
    """The way forth of `Recurrence`, and what its way back needs."""
    steps, rows, _, latents = noise.shape
    deters = deter.new_empty(steps, *deter.shape)
    stochs = stoch.new_empty(steps, rows, stoch.shape[1] // latents, latents)
    probs = torch.empty_like(stochs)
    passed = []
    inputs, outputs = (drive, seen, keep == 0, noise), (deters, stochs, probs)
    for drive_t, seen_t, first_t, noise_t, deter_t, stoch_t, probs_t in zip(*inputs, *outputs, strict=True):
        deter, saved = cell(w, reset(deter, first_t), reset(stoch, first_t), drive_t.clone(), deter_t)
        pre = torch.addmm(seen_t, deter.to(seen.dtype), w.post_deter)
        hidden, normed, inverse = norm_silu(pre, w.post_scale)
        logits = torch.addmm(w.post_bias, hidden, w.post_out).view(stoch_t.shape)
        soft = logits.softmax(-2, torch.float32)
        torch.mul(soft, 1 - UNIMIX, out=probs_t).add_(UNIMIX / soft.shape[-2])
        stoch = one_hot_sample(probs_t, noise_t, -2, stoch_t).flatten(1)
        passed.append((saved, SavedPosterior(hidden, normed, inverse, soft)))
    return deters, stochs, probs, passed


def _observe_backward(
    w: Weights,
    passed: list[tuple[SavedStep, SavedPosterior]],
    keep: Tensor,
    before: Tensor,
    probs: Tensor,
    at_deters: Tensor,
    at_soft: Tensor,
) -> Gradients:
    """The way back. before and probs are for compiled loops; at_soft [T, N, K, S]: at the posterior before its mix."""
    dtype = w.deter.dtype
    deter, stoch = torch.zeros_like(at_deters[0]), torch.zeros_like(at_soft[0])
    steps = []
    for (saved, post), first_t, at_deter, at_soft_t in reversed(
        list(zip(passed, keep == 0, at_deters, at_soft, strict=True))
    ):
        soft = at_soft_t.add_(stoch.view(at_soft_t.shape), alpha=1 - UNIMIX)
        logits = torch.ops.aten._softmax_backward_data(soft, post.soft, -2, soft.dtype).flatten(1)
        hidden = logits.to(dtype) @ w.post_out.t()
        seen, post_scale = norm_silu_backward(hidden, post.normed, post.inverse, w.post_scale)
        deter = (seen.to(dtype) @ w.post_deter.t()).float().add_(deter).add_(at_deter)
        deter, stoch, pre, scale, joint, mix_scale, gates = cell_backward(w, saved, deter)
        deter, stoch = reset(deter, first_t), reset(stoch, first_t)
        went_in = (saved.inputs.flatten(1), saved.mixed, post.hidden)
        steps.append(Gradients(pre, joint, gates, seen, logits, scale, mix_scale, post_scale, *went_in))
    joined = Gradients(*(torch.cat(parts) for parts in zip(*steps[::-1], strict=True)))
    scales = (scale.sum(0) for scale in (joined.scale, joined.mix_scale, joined.post_scale))
    return joined._replace(**dict(zip(("scale", "mix_scale", "post_scale"), scales, strict=True)))


def _cast(weights: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """With everything that enters a product in `dtype`."""
    return {name: w if name.endswith("scale") else w.to(dtype) for name, w in weights.items()}


def _blocks(x: Tensor, groups: int) -> Tensor:
    """The block axis first: [N, D] -> [G, N, P], a view."""
    return x.view(len(x), groups, -1).transpose(0, 1)


def _product(inputs: Tensor, gradients: Tensor, dtype: torch.dtype) -> Tensor:
    """The gradient of a matrix of weights: [..., N, I], [..., N, O] -> [..., I, O], laid out as that of a layer."""
    product: Tensor = gradients.to(dtype).transpose(-1, -2) @ inputs.to(dtype)
    return product.transpose(-1, -2)
