"""Metropolis sweeps over the visible spins of a restricted machine, a compiled kernel."""

import math
from typing import Any

import numpy as np

from hybrid_opt.simd.registers import cached
from quantum_sampler.selector import Floats


@cached()
def sweep(
    spins: Floats,
    fields: Floats,
    couplings: Floats,
    hidden_fields: Floats,
    weights: Floats,
    square: float,
    base: Floats,
    beta: float,
    sweeps: int,
    rng: Any,
) -> None:
    """Flip the spins [C, n] of C chains, in place, by the law exp(-beta F(s) - (1 - beta) base.s).

    F(s) = fields.s + s'couplings s / 2 - sum_j log cosh sqrt(|Phi_j|^2 + square), Phi_j = hidden_fields[j] + sum_i s_i
    weights[i, j]. fields, base: [n]; couplings: [n, n], symmetric with zeros on the diagonal, or [0, 0]; hidden_fields:
    [m, d]; weights: [n, m, d]. m at most 1,000.
    """
    chains, n = spins.shape
    m, d = hidden_fields.shape
    phi, norms, flipped = np.empty((m, d)), np.empty(m), np.empty(m)
    for chain in range(chains):
        s = spins[chain]
        product = 1.0  # log cosh r = r + log(1 + exp(-2r)) - log 2; the second terms as one product
        for j in range(m):
            total = square
            for k in range(d):
                field = hidden_fields[j, k]
                for i in range(n):
                    field += s[i] * weights[i, j, k]
                phi[j, k] = field
                total += field * field
            norms[j] = math.sqrt(total)
            product *= 1.0 + math.exp(-2.0 * norms[j])
        for _ in range(sweeps):
            for i in range(n):
                change = -2.0 * s[i]
                local = fields[i]
                for k in range(couplings.shape[0]):
                    local += couplings[i, k] * s[k]
                rise, other = 0.0, 1.0
                for j in range(m):
                    total = square
                    for k in range(d):
                        field = phi[j, k] + change * weights[i, j, k]
                        total += field * field
                    flipped[j] = math.sqrt(total)
                    rise += flipped[j] - norms[j]
                    other *= 1.0 + math.exp(-2.0 * flipped[j])
                cost = beta * (change * local - rise - math.log(other / product)) + (1.0 - beta) * change * base[i]
                if cost <= 0.0 or rng.random() < math.exp(-cost):
                    s[i] = -s[i]
                    product = other
                    for j in range(m):
                        norms[j] = flipped[j]
                        for k in range(d):
                            phi[j, k] += change * weights[i, j, k]
