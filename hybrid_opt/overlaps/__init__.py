"""Kernels: overlaps of quantum states, and their classical twins, one a file."""

from typing import Any

from hybrid_opt.overlaps.overlap import Overlap
from hybrid_opt.parts import Parts

__all__ = ["OVERLAPS", "Overlap", "make_overlap"]

OVERLAPS = Parts("overlap", __name__, "Overlap")


def make_overlap(name: str, **options: Any) -> Overlap:
    """Make the kernel of a name: fidelity, projected, rbf, laplace, or module:Class. Raises ProblemError."""
    kind, config = OVERLAPS.configured(name, "overlap", options)
    overlap: Overlap = kind(config)
    return overlap
