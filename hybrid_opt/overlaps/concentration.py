"""Whether a kernel can tell inputs apart (Thanasilp et al. 2024, arXiv 2208.11060)."""

from typing import NamedTuple

import numpy as np

from hybrid_opt.errors import ProblemError
from hybrid_opt.overlaps.overlap import Floats


class Concentration(NamedTuple):
    """Diagnostics of a Gram matrix."""

    mean: float
    """of what is off the diagonal"""
    std: float
    """of the same; a kernel that concentrates has one much smaller than its mean"""
    rank: float
    """effective: exp(entropy of the eigenvalues / N); 1: all inputs look alike, N: none does"""
    shots: float
    """by which the median entry has a relative standard error of 0.1: (1 - k) / (0.01 k)"""


def concentration(gram: Floats) -> Concentration:
    """Diagnose a symmetric Gram matrix [N, N], N >= 2. Raises ProblemError."""
    gram = np.asarray(gram, np.float64)
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or len(gram) < 2 or not np.allclose(gram, gram.T):
        raise ProblemError(f"gram: shape {list(gram.shape)}; a symmetric matrix of two rows or more is accepted")
    off = gram[~np.eye(len(gram), dtype=bool)]
    shares = np.clip(np.linalg.eigvalsh(gram), 0, None)
    shares = shares[shares > 0] / shares.sum()
    middle = float(np.median(off))
    shots = (1 - middle) / (0.01 * middle) if middle > 0 else float("inf")
    return Concentration(float(off.mean()), float(off.std()), float(np.exp(-np.sum(shares * np.log(shares)))), shots)
