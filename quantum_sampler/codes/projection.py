"""Binary codes of latent features: bit i of a code is (code >> i) & 1."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantum_sampler.selector import Array

Codes = NDArray[np.uint64]
Bits = NDArray[np.uint8]


class RandomProjection:
    """Signs of random projections: the Hamming distance of two codes estimates the angle between their features.

    Sign random projections (Charikar 2002), taken about the median of each projection over the features that `fit`
    sees, so that every bit is 1 for half of them. Shapes: N items, F features, n bits, at most 64.
    """

    def __init__(self, feature_dim: int, bits: int, seed: int | Sequence[int]) -> None:
        if not 1 <= bits <= 64:
            raise ValueError(f"bits={bits}: 1..64 is accepted")
        self.bits = bits
        self._directions = np.random.default_rng(seed).standard_normal((feature_dim, bits), np.float32)  # [F, n]
        self._centre = np.zeros(bits, np.float32)

    def fit(self, features: Array) -> None:
        """Put the thresholds where they halve these features [N, F], N >= 1."""
        self._centre = np.median(self._project(features), axis=0)

    def encode(self, features: Array) -> Codes:
        """Codes uint64 [N] of features [N, F]; a projection on its threshold is a 0."""
        return pack(self._project(features) > self._centre)

    def empty(self, capacity: int) -> Codes:
        """Return codes of nothing, uint64 [capacity]."""
        return np.zeros(capacity, np.uint64)

    def distance(self, codes: Codes, code: np.uint64) -> NDArray[np.uint8]:
        """Return the number of bits in which each code differs from one code, uint8 [N]."""
        found: NDArray[np.uint8] = np.bitwise_count(codes ^ code)
        return found

    def state_dict(self) -> dict[str, Any]:
        """The projections and their thresholds."""
        import torch

        return {"directions": torch.from_numpy(self._directions), "centre": torch.from_numpy(self._centre)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Encode as the one did whose state this is."""
        self._directions, self._centre = state["directions"].numpy().copy(), state["centre"].numpy().copy()

    def _project(self, features: Array) -> NDArray[np.float32]:
        projected: NDArray[np.float32] = np.asarray(features, np.float32) @ self._directions
        return projected


def pack(bits: Array) -> Codes:
    """Codes [N] of bits [N, n], n at most 64."""
    weights = np.uint64(1) << np.arange(bits.shape[1], dtype=np.uint64)
    codes: Codes = np.asarray(bits, np.uint64) @ weights
    return codes


def unpack(codes: Codes, bits: int) -> Bits:
    """Bits uint8 [N, n] of codes [N]."""
    return ((codes[:, None] >> np.arange(bits, dtype=np.uint64)) & np.uint64(1)).astype(np.uint8)


def hamming(codes: Codes, code: np.uint64 | int) -> NDArray[np.int64]:
    """Number of bits [N] in which each code differs from one code."""
    distances: NDArray[np.int64] = np.bitwise_count(codes ^ np.uint64(code)).astype(np.int64)
    return distances
