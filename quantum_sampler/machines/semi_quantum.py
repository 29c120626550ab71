"""The semi-quantum restricted Boltzmann machine: classical visible spins, hidden qubits (arXiv 2502.17562)."""

import numpy as np

from quantum_sampler.machines.restricted import Restricted


class SemiQuantumRbm(Restricted):
    """p(s) ~ exp(-a.s) prod_j cosh |Phi_j(s)|, Phi_j = b_j + sum_i s_i w_ij a field of three components.

    It is the diagonal of exp(-H) / Z, H = a.Z + sum_j Phi_j(Z).(Z, X, Y)_j, with the hidden qubits traced out: Z on the
    visible ones commutes with everything, so law and gradients have a closed form, though the terms of a hidden qubit
    do not commute. Given the hidden qubits the visible spins are not independent, so its chains take Metropolis sweeps
    of the visible spins alone.
    """

    def __init__(
        self, bits: int, hidden: int, rng: np.random.Generator, *, chains: int = 64, exact_bits: int = 10
    ) -> None:
        super().__init__(bits, hidden, rng, components=3, chains=chains, exact_bits=exact_bits)
