"""Classical proposals on basis states: one random bit flipped, or a state drawn uniformly."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


class LocalProposal:
    """Flips one bit, drawn uniformly, of states of n bits."""

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def propose(self, states: Ids, rng: np.random.Generator) -> Ids:
        """A proposal for each of the states int64 [...]."""
        return states ^ (1 << rng.integers(self.bits, size=states.shape))

    def mean_matrix(self) -> Floats:
        """[2^n, 2^n]: the probability of proposing column s' from row s."""
        states = np.arange(1 << self.bits)
        matrix = np.zeros((states.size, states.size))
        for bit in range(self.bits):
            matrix[states, states ^ (1 << bit)] = 1 / self.bits
        return matrix


class UniformProposal:
    """Draws any state of n bits, whatever the present one is."""

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def propose(self, states: Ids, rng: np.random.Generator) -> Ids:
        """A proposal for each of the states int64 [...]."""
        return rng.integers(1 << self.bits, size=states.shape)

    def mean_matrix(self) -> Floats:
        """[2^n, 2^n]: the probability of proposing column s' from row s."""
        return np.full((1 << self.bits, 1 << self.bits), 0.5**self.bits)
