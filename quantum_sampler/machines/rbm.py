"""The classical restricted Boltzmann machine, trained by persistent contrastive divergence."""

import numpy as np

from quantum_sampler.machines.restricted import Restricted
from quantum_sampler.selector import Floats


class Rbm(Restricted):
    """E(s, h) = a.s + sum_j h_j Phi_j(s) of spins h_j = -1 or 1, so F(s) = a.s - sum_j log cosh Phi_j(s).

    In bits this is the F(v) = -b.v - sum log(1 + exp(c + Wv)) of Hinton (2012). The control of the semi-quantum
    machine: with as many hidden units, and with three times as many, which then have as many parameters. Its chains
    take block Gibbs steps.
    """

    def __init__(
        self, bits: int, hidden: int, rng: np.random.Generator, *, chains: int = 64, exact_bits: int = 10
    ) -> None:
        super().__init__(bits, hidden, rng, components=1, chains=chains, exact_bits=exact_bits)

    def _sweep(self, spins: Floats, sweeps: int, rng: np.random.Generator) -> None:
        weights = self.parameters["weights"][..., 0]  # [n, m]
        for _ in range(sweeps):
            hidden = _spins(self.parameters["hidden_fields"][:, 0] + spins @ weights, rng)
            spins[:] = _spins(self.parameters["fields"] + hidden @ weights.T, rng)


def _spins(fields: Floats, rng: np.random.Generator) -> Floats:
    """Spins drawn from exp(-field spin), each on its own."""
    return np.where(rng.random(fields.shape) * (1.0 + np.exp(np.clip(2.0 * fields, None, 700.0))) < 1.0, 1.0, -1.0)
