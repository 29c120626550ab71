"""The contract of machines: a law over binary codes, and its training by steps."""

from abc import ABC, abstractmethod
from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quantum_sampler.codes.projection import Codes, pack, unpack
from quantum_sampler.selector import Floats

ENUMERABLE = 16  # bits up to which sums over all codes are exact
BATCH = 256  # codes of which a step of training sees the mean


class Machine(ABC):
    """A law p(code) ~ exp(-free energy) over codes of `bits` bits, bit i as the spin s_i = 1 - 2 x_i.

    `parameters` are arrays by name, changed in place by training, which may be continued at any time (a warm start).
    Shapes: N codes, n bits.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.parameters: dict[str, NDArray[np.float64]] = {}

    @abstractmethod
    def free_energy(self, codes: Codes) -> Floats:
        """-log p [N] of codes, up to a constant that is the same for all."""

    @abstractmethod
    def step(self, codes: Codes, rate: float, rng: np.random.Generator) -> None:
        """One step of gradient ascent on the mean log-likelihood of codes (or a bound of it)."""

    @abstractmethod
    def sample(self, count: int, rng: np.random.Generator) -> Codes:
        """Codes [count] of the law, as well as the machine can draw them."""

    @abstractmethod
    def log_partition(self, rng: np.random.Generator) -> float:
        """Logarithm of the sum of exp(-free energy) over all codes: exact up to 16 bits, else an estimate."""

    def train(self, codes: Codes, steps: int, rate: float, rng: np.random.Generator) -> None:
        """Continue the training by steps, each on 256 codes drawn from these (with repeats)."""
        for _ in range(steps if codes.size else 0):
            self.step(codes[rng.integers(codes.size, size=min(BATCH, codes.size))], rate, rng)

    def log_likelihood(self, codes: Codes, rng: np.random.Generator) -> float:
        """Mean log p of codes, in nats a code; see `log_partition`."""
        return float(-self.free_energy(codes).mean() - self.log_partition(rng))

    def copy(self) -> Self:
        """A machine that goes on from here on its own."""
        other = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(other, name, value.copy())
        other.parameters = {name: values.copy() for name, values in self.parameters.items()}
        return other

    def state_dict(self) -> dict[str, Any]:
        """Everything that training and free energies depend on."""
        import torch

        return {name: torch.from_numpy(values.copy()) for name, values in self.parameters.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of a machine of the same shape."""
        for name, values in self.parameters.items():
            values[...] = state[name].numpy()


def spins_of(codes: Codes, bits: int) -> Floats:
    """Spins float64 [N, n] of codes: 1 where the bit is 0, -1 where it is 1."""
    spins: Floats = 1.0 - 2.0 * unpack(codes, bits).astype(np.float64)
    return spins


def codes_of(spins: Floats) -> Codes:
    """Codes [N] of spins [N, n]."""
    return pack(spins < 0)


def all_spins(bits: int) -> Floats:
    """Spins of all codes 0.., float64 [2^n, n]."""
    return spins_of(np.arange(1 << bits, dtype=np.uint64), bits)
