"""Schedules from tables of angles, which evaluate nothing: fixed, ramp and transferred.

Gammas are those of the standardised cost.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simulator.mixers import moments

Floats = NDArray[np.float64]
Angles = tuple[Floats, Floats]
Evaluate = Callable[[Floats, Floats], float]

# Angles that minimise the mean energy of random dense Qubos (normal weights, n = 12 and 14, 24 of each), the gammas in
# units of Moments.scale: one row for each number of layers.
GAMMAS = (
    (0.503,),
    (0.351, 0.621),
    (0.298, 0.529, 0.693),
    (0.247, 0.463, 0.602, 0.684),
    (0.219, 0.421, 0.548, 0.623, 0.704),
    (0.195, 0.386, 0.509, 0.569, 0.637, 0.719),
    (0.176, 0.359, 0.479, 0.534, 0.586, 0.661, 0.729),
    (0.159, 0.334, 0.452, 0.503, 0.547, 0.608, 0.672, 0.734),
    (0.145, 0.314, 0.432, 0.481, 0.520, 0.573, 0.632, 0.692, 0.748),
    (0.134, 0.296, 0.415, 0.461, 0.496, 0.541, 0.596, 0.651, 0.701, 0.750),
)
BETAS = (
    (0.529,),
    (0.724, 0.414),
    (0.771, 0.558, 0.265),
    (0.796, 0.634, 0.385, 0.199),
    (0.815, 0.672, 0.453, 0.300, 0.152),
    (0.831, 0.699, 0.498, 0.364, 0.242, 0.127),
    (0.841, 0.719, 0.528, 0.405, 0.299, 0.201, 0.106),
    (0.846, 0.732, 0.549, 0.433, 0.338, 0.251, 0.170, 0.090),
    (0.858, 0.748, 0.570, 0.457, 0.368, 0.288, 0.217, 0.146, 0.077),
    (0.870, 0.759, 0.586, 0.476, 0.392, 0.319, 0.254, 0.190, 0.128, 0.069),
)
TYPICAL = 2.8  # Moments.scale of a random dense Qubo of 10 variables
RAMP = 2.2, 0.9  # ends of the linear ramps: gammas rise to the first, betas fall from the second


def fixed(qubo: Qubo, layers: int, evaluate: Evaluate | None = None, budget: int = 0) -> Angles:
    """The same angles for every problem."""
    gammas, betas = table(layers)
    return TYPICAL * gammas, betas


def ramp(qubo: Qubo, layers: int, evaluate: Evaluate | None = None, budget: int = 0) -> Angles:
    """Linear ramps, as of an annealing schedule."""
    times = (np.arange(layers) + 0.5) / layers
    return RAMP[0] * times, RAMP[1] * (1 - times)


def transferred(qubo: Qubo, layers: int, evaluate: Evaluate | None = None, budget: int = 0) -> Angles:
    """Angles of random dense problems, the gammas rescaled by the problem's weights (Shaydulin et al. 2023)."""
    gammas, betas = table(layers)
    return moments(qubo).scale * gammas, betas


def table(layers: int) -> Angles:
    """Angles of a number of layers; beyond the table's, those of its last row stretched."""
    if layers < 1:
        raise ProblemError(f"layers={layers}: at least one is accepted")
    if layers <= len(GAMMAS):
        return np.array(GAMMAS[layers - 1]), np.array(BETAS[layers - 1])
    old, new = ((np.arange(count) + 0.5) / count for count in (len(GAMMAS), layers))
    return np.interp(new, old, GAMMAS[-1]), np.interp(new, old, BETAS[-1])
