"""The twin of quantum kernels: a Gaussian of the distance."""

import numpy as np

from hybrid_opt.overlaps.overlap import Floats, Overlap, OverlapConfig, squared_distances


class Rbf(Overlap):
    """exp(-|x - y|^2 / 4): for small inputs the fidelity of angles, prod cos^2((x - y) / 2), is the same."""

    Config = OverlapConfig

    def gram(self, x: Floats, y: Floats | None) -> Floats:
        found: Floats = np.exp(-squared_distances(x, y) / 4)
        return found
