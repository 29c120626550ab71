"""Independent bits, the control that knows no correlation."""

import numpy as np

from quantum_sampler.codes.projection import Codes
from quantum_sampler.machines.machine import Machine, codes_of, spins_of
from quantum_sampler.selector import Floats


class IndependentBits(Machine):
    """p(code) ~ exp(-a.s): as many parameters as bits, everything in closed form."""

    def __init__(self, bits: int) -> None:
        super().__init__(bits)
        self.parameters["fields"] = np.zeros(bits)

    def fit(self, codes: Codes) -> None:
        """The most likely parameters, with one bit of each kind added to the count."""
        minus = (0.5 * (1.0 - spins_of(codes, self.bits)).sum(0) + 1.0) / (codes.size + 2.0)
        self.parameters["fields"][:] = 0.5 * np.log(minus / (1.0 - minus))

    def free_energy(self, codes: Codes) -> Floats:
        energy: Floats = spins_of(codes, self.bits) @ self.parameters["fields"]
        return energy

    def step(self, codes: Codes, rate: float, rng: np.random.Generator) -> None:
        fields = self.parameters["fields"]
        fields -= rate * (spins_of(codes, self.bits).mean(0) + np.tanh(fields))

    def sample(self, count: int, rng: np.random.Generator) -> Codes:
        minus = 1.0 / (1.0 + np.exp(-2.0 * self.parameters["fields"]))
        return codes_of(np.where(rng.random((count, self.bits)) < minus, -1.0, 1.0))

    def log_partition(self, rng: np.random.Generator) -> float:
        fields = self.parameters["fields"]
        return float(np.logaddexp(fields, -fields).sum())
