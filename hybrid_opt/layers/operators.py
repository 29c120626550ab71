"""A plan run by PyTorch's operators: on any device, in float32 and float64, with gradients of any order."""

import torch
from torch import Tensor

from hybrid_opt.layers.constants import beside
from hybrid_opt.layers.plan import Plan


def means(plan: Plan, gates: Tensor, phases: Tensor | None = None, start: Tensor | None = None) -> Tensor:
    """Return what is read out of the circuit of each row.

    Args:
        gates: [N, S, n, 4], of qubit q in slot s: (a, b, c, d) stands for [[a + ib, -c + id], [c + id, a - ib]].
        phases: [N, P, 2^n], in radians: a phased slot multiplies amplitude k with exp(i phase). P = len(plan.phased).
        start: [N, 2, 2^n], real and imaginary parts of the first state, of norm 1. None: |0...0>.

    Returns: [N, outputs], in the precision of gates.
    """
    state = evolved(plan, gates, phases, start)
    return (state.real.square() + state.imag.square()) @ beside(plan.parity, gates)


def evolved(plan: Plan, gates: Tensor, phases: Tensor | None = None, start: Tensor | None = None) -> Tensor:
    """Return the final states, complex [N, 2^n], of `means`' arguments."""
    rows, n = len(gates), plan.qubits
    source, sign = beside(plan.source, gates), beside(plan.sign, gates)
    if start is None:
        state = torch.zeros(rows, 1 << n, dtype=gates.dtype, device=gates.device)
        state[:, 0] = 1.0
        state = torch.complex(state, torch.zeros_like(state))
    else:
        state = torch.complex(start[:, 0], start[:, 1])
    a, b, c, d = gates.unbind(-1)
    first, second = torch.complex(a, b), torch.complex(c, d)  # [N, S, n], the first column of each gate
    for s in range(plan.slots):
        if s in plan.phased and phases is not None:
            angle = phases[:, plan.phased.index(s)]
            state = state * torch.polar(torch.ones_like(angle), angle)
        for q in range(n):
            low, high = state.view(rows, -1, 2, 1 << q).unbind(2)  # [N, 2^(n-1-q), 2^q], where the bit is 0 and 1
            p, r = first[:, s, q, None, None], second[:, s, q, None, None]
            state = torch.stack([p * low - r.conj() * high, r * low + p.conj() * high], 2).view(rows, -1)
        state = state[:, source[s]] * sign[s]
    return state
