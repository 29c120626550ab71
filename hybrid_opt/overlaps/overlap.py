"""The contract of kernels."""

from abc import ABC, abstractmethod
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.errors import ProblemError

Floats = NDArray[np.float64]


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class OverlapConfig:
    """What all kernels have."""

    bandwidth: Annotated[float, Field(gt=0)] = 1.0
    """factor of the inputs: a small one makes the kernel wide"""


class Overlap(ABC):
    """How alike two inputs are: k(x, y) = k(y, x), with k(x, x) = 1.

    An instance is what scikit-learn takes as `kernel`: SVC(kernel=overlap), OneClassSVM, Nystroem. With shots it is an
    estimate, whose Gram matrix may have small negative eigenvalues.
    """

    config: OverlapConfig

    def __init__(self, options: OverlapConfig) -> None:
        self.config = options

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in vars(self.config).items())})"

    def __call__(self, x: ArrayLike, y: ArrayLike | None = None) -> Any:
        """Return the Gram matrix [N, M] of rows x [N, d] and y [M, d], or the number of two vectors [d].

        y=None: x again; the matrix is symmetric, and 1 on the diagonal. Raises ProblemError for other shapes, and for
        numbers that are not finite.
        """
        first = self._rows(x, "x")
        second = None if y is None or y is x else self._rows(y, "y")
        if second is not None and first.shape[1] != second.shape[1]:
            raise ProblemError(f"y: rows of {second.shape[1]}; rows of {first.shape[1]}, as those of x, are accepted")
        found = self.gram(first, second)
        return float(found[0, 0]) if np.ndim(x) == 1 else found

    @abstractmethod
    def gram(self, x: Floats, y: Floats | None) -> Floats:
        """Return k [N, M] of scaled rows x [N, d] and y [M, d]; None: x again."""

    def _rows(self, x: ArrayLike, name: str) -> Floats:
        rows = np.atleast_2d(np.asarray(x, np.float64))
        if rows.ndim != 2 or not np.isfinite(rows).all():
            raise ProblemError(f"{name}: shape {list(rows.shape)}; finite rows [N, d], or one [d], are accepted")
        scaled: Floats = rows * self.config.bandwidth
        return scaled


def squared_distances(x: Floats, y: Floats | None) -> Floats:
    """|x - y|^2, [N, M]; y=None: x again, to the bit symmetric."""
    from scipy.spatial.distance import cdist, pdist, squareform

    found: Floats = squareform(pdist(x, "sqeuclidean")) if y is None else cdist(x, y, "sqeuclidean")
    return found
