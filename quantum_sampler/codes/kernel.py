"""Latent features as few numbers that a kernel of states takes, or one of its twins."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantum_sampler.selector import Array, Floats, Mask

if TYPE_CHECKING:
    from hybrid_opt.overlaps import Overlap

WIDTH = 4  # numbers that are left of features: each is a qubit of most encodings
FARTHEST = 254


class KernelCodes:
    """Standardised principal components, whose distance is what a kernel lacks of 1.

    It stands in for `RandomProjection`. Its kernel costs O(N) an entry for product encodings, and 2^d for others.
    Shapes: N items, F features, d components.
    """

    def __init__(self, feature_dim: int, bits: int, overlap: "Overlap") -> None:
        """bits: the distance at an overlap of 0."""
        self.bits, self.overlap, self.width = bits, overlap, min(WIDTH, feature_dim)
        self._centre, self._axes = np.zeros(feature_dim), np.eye(feature_dim)[:, : self.width]

    def empty(self, capacity: int) -> Floats:
        """Return codes of nothing, [capacity, d]."""
        return np.zeros((capacity, self.width))

    def fit(self, features: Array) -> None:
        """Take the directions in which features [N, F] differ most, N >= 1."""
        known = np.asarray(features, np.float64)
        self._centre = known.mean(0)
        values, vectors = np.linalg.eigh(np.cov(known.T, bias=True).reshape(known.shape[1], -1))
        scale = np.sqrt(np.maximum(values[::-1][: self.width], 0.0))
        kept = scale > 1e-6 * max(scale[0], np.abs(self._centre).max(), 1e-300)  # the rest is rounding
        self._axes = vectors[:, ::-1][:, : self.width] * np.where(kept, 1 / np.where(kept, scale, 1.0), 0.0)

    def encode(self, features: Array) -> Floats:
        """Return float64 [N, d] of features [N, F]."""
        found: Floats = (np.asarray(features, np.float64) - self._centre) @ self._axes
        return found

    def distance(self, codes: Floats, code: Floats) -> NDArray[np.uint8]:
        """Return floor((1 - k) bits) of codes [N, d] and one code [d]; uint8 [N]."""
        if not len(codes):
            return np.empty(0, np.uint8)
        found = np.floor((1.0 - self.overlap(code[None], codes)[0]) * self.bits + 1e-9)
        return np.asarray(np.clip(found, 0, FARTHEST), np.uint8)

    def state_dict(self) -> dict[str, Any]:
        """The directions."""
        import torch

        return {"centre": torch.from_numpy(self._centre), "axes": torch.from_numpy(self._axes.copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Encode as the one did whose state this is."""
        self._centre, self._axes = state["centre"].numpy().copy(), state["axes"].numpy().copy()


def kernel_similarity(features: Array, seen: Mask, overlap: "Overlap") -> Floats:
    """Return the kernel of features [N, F], float64 [N, N], zeros on the diagonal and beside items not seen [N]."""
    found = np.zeros((len(features), len(features)))
    places = np.flatnonzero(seen)
    if len(places) > 1:
        codes = KernelCodes(features.shape[1], 1, overlap)
        codes.fit(features[places])
        found[np.ix_(places, places)] = np.maximum(overlap(codes.encode(features[places])), 0.0)
        np.fill_diagonal(found, 0.0)
    return found


def checked_overlap(name: str, options: dict[str, Any], key: str) -> "Overlap":
    """Return the kernel of a name. Raise ProblemError that names `key` or `kernel_options`."""
    from hybrid_opt.errors import ProblemError
    from hybrid_opt.overlaps import OVERLAPS
    from hybrid_opt.overlaps.encoded import Encoded

    kind, config = OVERLAPS.configured(name, key, options, "kernel_options")
    if encoding := getattr(config, "encoding", None):
        try:
            Encoded.of(encoding, WIDTH)
        except ProblemError as error:
            raise ProblemError(f"kernel_options.encoding={encoding}: {error}") from None
    overlap: Overlap = kind(config)
    return overlap
