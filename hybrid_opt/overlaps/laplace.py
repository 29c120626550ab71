"""A twin of quantum kernels that is not smooth: it falls with the sum of differences."""

import numpy as np

from hybrid_opt.overlaps.overlap import Floats, Overlap, OverlapConfig


class Laplace(Overlap):
    """exp(-sum_i |x_i - y_i|)."""

    Config = OverlapConfig

    def gram(self, x: Floats, y: Floats | None) -> Floats:
        from scipy.spatial.distance import cdist

        found: Floats = np.exp(-cdist(x, x if y is None else y, "cityblock"))
        return found
