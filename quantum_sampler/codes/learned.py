"""Binary codes that are fitted to the features: iterative quantisation (Gong and Lazebnik 2011)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from quantum_sampler.codes.projection import Codes, pack
from quantum_sampler.selector import Array, Floats


class LearnedCodes:
    """Signs of the first principal components, rotated so that they lie close to the corners of the cube.

    A second `fit` starts from the rotation that is nearest to the projections of the first, so bits keep their meaning
    where the features allow it. Shapes: N items, F features, n bits, at most F and 64.
    """

    def __init__(self, feature_dim: int, bits: int, seed: int | Sequence[int], iterations: int = 50) -> None:
        if not 1 <= bits <= min(64, feature_dim):
            raise ValueError(f"bits={bits}: 1..{min(64, feature_dim)} is accepted for {feature_dim} features")
        self.bits = bits
        self._iterations = iterations
        self._centre = np.zeros(feature_dim)
        start = np.random.default_rng(seed).standard_normal((feature_dim, bits))
        self._projection: Floats = np.linalg.qr(start)[0]  # [F, n], orthonormal columns

    def fit(self, features: Array) -> None:
        """Fit centre, components and rotation to features [N, F], N >= 1."""
        x = np.asarray(features, np.float64)
        self._centre = x.mean(0)
        x = x - self._centre
        components = np.linalg.eigh(x.T @ x)[1][:, : -self.bits - 1 : -1]  # [F, n], the largest first
        projected = x @ components
        rotation = _nearest_rotation(components.T @ self._projection)
        for _ in range(self._iterations):
            corners = np.where(projected @ rotation > 0.0, 1.0, -1.0)
            rotation = _nearest_rotation(projected.T @ corners)
        self._projection = components @ rotation

    def encode(self, features: Array) -> Codes:
        """Codes uint64 [N] of features [N, F]."""
        return pack((np.asarray(features, np.float64) - self._centre) @ self._projection > 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Centre and projections."""
        import torch

        return {"centre": torch.from_numpy(self._centre), "projection": torch.from_numpy(self._projection)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the projections of a state."""
        self._centre, self._projection = state["centre"].numpy().copy(), state["projection"].numpy().copy()


def _nearest_rotation(matrix: Floats) -> Floats:
    """The orthogonal matrix R of the largest trace of R' matrix (Procrustes)."""
    left, _, right = np.linalg.svd(matrix)
    rotation: Floats = left @ right
    return rotation
