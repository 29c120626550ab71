"""IQP encoding: phases of inputs and of their products."""

from itertools import combinations

import torch
from torch import Tensor

from hybrid_opt.circuits.encodings.encoding import Encoding
from hybrid_opt.circuits.gate import Gate


class Iqp(Encoding):
    """H on all qubits, then RZ(x_q), then RZZ(x_q x_r) on all pairs (Havlicek et al. 2019, arXiv 1804.11326)."""

    def inputs(self, qubits: int) -> int:
        return qubits

    def gates(self, qubits: int) -> list[Gate]:
        hadamards = [Gate("h", (q,)) for q in range(qubits)]
        pairs = list(combinations(range(qubits), 2))
        # pairs come first, so that both kinds become one diagonal of the simulation: they commute
        couplings = [Gate("rzz", pair, k) for k, pair in enumerate(pairs)]
        return hadamards + couplings + [Gate("rz", (q,), len(pairs) + q) for q in range(qubits)]

    def angles(self, x: Tensor) -> Tensor:
        first, second = torch.triu_indices(x.shape[-1], x.shape[-1], 1, device=x.device)
        return torch.cat([x.index_select(-1, first) * x.index_select(-1, second), x], -1)

    def kernel(self, x: Tensor, y: Tensor) -> Tensor:
        """|mean_k exp(i(f_k(x) - f_k(y)))|^2 over all basis states k, where f_k(x) is the phase of k."""
        n = x.shape[-1]
        spins = 1.0 - 2.0 * ((torch.arange(1 << n, device=x.device)[:, None] >> torch.arange(n, device=x.device)) & 1)
        phase = (self.angles(x) - self.angles(y)) @ self.angles(spins.to(x.dtype)).mT / 2  # [..., 2^n]
        return phase.cos().mean(-1).square() + phase.sin().mean(-1).square()
