"""A circuit without its parameters: where gates, phases and entanglers stand, and what is read out."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hybrid_opt.layers.config import Readout as Readout


@dataclass(frozen=True, eq=False)
class Plan:
    """A circuit of S slots on n qubits. Bit q of basis state k is (k >> q) & 1.

    Slot s multiplies the state with diagonal phases, where `phased` names it. Then each qubit gets a gate of its own.
    Then an entangler moves amplitude `source[s, k]` to k and multiplies it with `sign[s, k]`. CNOT, SWAP and CZ are
    such moves, and so is any sequence of them.
    """

    qubits: int
    source: Tensor
    """int64 [S, 2^n], a permutation in each row"""
    sign: Tensor
    """float64 [S, 2^n], 1 or -1"""
    phased: tuple[int, ...] = ()
    """slots that begin with diagonal phases, in order"""
    readout: Readout = "z"
    """z: <Z_q> of each qubit; zz: these, then <Z_q Z_q+1> of neighbours; probabilities: of all basis states"""

    @property
    def slots(self) -> int:
        """S."""
        return len(self.source)

    @property
    def outputs(self) -> int:
        """Numbers that are read out."""
        n = self.qubits
        return {"z": n, "zz": 2 * n - 1, "probabilities": 1 << n}[self.readout]

    @cached_property
    def parity(self) -> Tensor:
        """Eigenvalues of the observables, float64 [2^n, outputs]: means are probabilities times these."""
        if self.readout == "probabilities":
            return torch.eye(1 << self.qubits, dtype=torch.float64)
        states, qubits = torch.arange(1 << self.qubits), torch.arange(self.qubits)
        z = 1.0 - 2.0 * ((states[:, None] >> qubits) & 1).double()  # [2^n, n]
        return z if self.readout == "z" else torch.cat([z, z[:, :-1] * z[:, 1:]], 1)
