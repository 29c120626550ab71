"""Angle schedules of QAOA: angles(qubo, layers, evaluate=None, budget=0) -> (gammas, betas), float64 [layers] each.

Gammas are those of the standardised cost. evaluate(gammas, betas) -> float is to be minimised, and may be called
`budget` times; schedules without optimisation do not.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simulator.mixers import moments

Floats = NDArray[np.float64]
Angles = tuple[Floats, Floats]
Evaluate = Callable[[Floats, Floats], float]
Method = Literal["adjoint", "cobyla", "spsa"]
ScheduleName = Literal["fixed", "ramp", "transferred", "optimised", "learned"]


class Schedule(Protocol):
    """Angles for a Qubo."""

    def __call__(self, qubo: Qubo, layers: int, evaluate: Evaluate | None = None, budget: int = 0) -> Angles: ...


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


def optimised(
    qubo: Qubo,
    layers: int,
    evaluate: Evaluate | None = None,
    budget: int = 0,
    *,
    method: Method | None = None,
    rng: np.random.Generator | None = None,
    start: Angles | None = None,
    radius: float = 0.1,
) -> Angles:
    """One local run from the transferred angles, or from `start`; radius: the first step of cobyla.

    method: adjoint is L-BFGS with `evaluate.gradient(gammas, betas) -> (value, by gammas, by betas)`; cobyla and spsa
    (Spall 1998, drawing from `rng`) need values only. Default: adjoint where there are gradients, else cobyla. The
    result are the best angles that were evaluated; of spsa, the last ones.
    """
    start = transferred(qubo, layers) if start is None else start
    if evaluate is None or budget < 1:
        return start
    gradient = getattr(evaluate, "gradient", None)
    method = method or ("cobyla" if gradient is None else "adjoint")
    if method == "adjoint" and gradient is None:
        raise ProblemError("method=adjoint: evaluate has no gradient; cobyla, spsa are accepted")
    scale = moments(qubo).scale
    centre, std = moments(qubo).mean, moments(qubo).std
    search = _Search(evaluate, gradient, scale, centre, std, budget, radius)
    point = np.concatenate([start[0] / scale, start[1]])
    with suppress(_Spent):
        {"adjoint": _adjoint, "cobyla": _cobyla, "spsa": _spsa}[method](search, point, rng or np.random.default_rng(0))
    return scale * search.best[:layers], search.best[layers:]


def learned(qubo: Qubo, layers: int, evaluate: Evaluate | None = None, budget: int = 0) -> Angles:
    """Angles of the trained policy that is shipped; `hybrid_opt.circuits.schedules.learned` takes others."""
    from hybrid_opt.circuits.schedules import learned as policies  # which knows the schedules here

    return policies.learned()(qubo, layers, evaluate, budget)


SCHEDULES: dict[str, Schedule] = {
    "fixed": fixed,
    "ramp": ramp,
    "transferred": transferred,
    "optimised": optimised,
    "learned": learned,
}


class _Spent(Exception):
    """The budget is spent."""


class _Search:
    """Values at points (gammas / scale, betas), as long as the budget lasts."""

    def __init__(
        self, evaluate: Evaluate, gradient: Any, scale: float, centre: float, unit: float, budget: int, radius: float
    ) -> None:
        self.evaluate, self.slope, self.scale, self.unit, self.budget = evaluate, gradient, scale, unit, budget
        self.centre = centre  # of the energies: tolerances are relative to values, which must not hold an offset
        self.radius = radius
        self.lowest = np.inf
        self.best: Floats = np.zeros(0)

    def __call__(self, point: Floats) -> float:
        value = float(self.evaluate(*self._at(point)))
        self._note(value, point)
        return value

    def gradient(self, point: Floats) -> tuple[float, Floats]:
        value, by_gamma, by_beta = self.slope(*self._at(point))
        self._note(float(value), point)
        return float(value), np.concatenate([np.ravel(by_gamma) * self.scale, np.ravel(by_beta)])

    def _at(self, point: Floats) -> Angles:
        if self.budget < 1:
            raise _Spent
        self.budget -= 1
        layers = len(point) // 2
        return self.scale * point[:layers], point[layers:]

    def _note(self, value: float, point: Floats) -> None:
        if value < self.lowest:
            self.lowest, self.best = value, point.copy()


def _adjoint(search: _Search, point: Floats, rng: np.random.Generator) -> None:
    from scipy.optimize import minimize

    def objective(x: Floats) -> tuple[float, Floats]:
        value, slope = search.gradient(x)
        unit = 5 * search.unit  # so that the first step is a moderate one
        return (value - search.centre) / unit, slope / unit

    minimize(objective, point, jac=True, method="L-BFGS-B", options={"ftol": 1e-6, "gtol": 1e-5})


def _cobyla(search: _Search, point: Floats, rng: np.random.Generator) -> None:
    from scipy.optimize import minimize

    search(point)
    minimize(search, point, method="COBYLA", options={"rhobeg": search.radius, "maxiter": 10**6, "tol": 1e-3})


def _spsa(search: _Search, point: Floats, rng: np.random.Generator) -> None:
    steps, stability = search.budget // 2, 0.1 * search.budget
    for step in range(steps):
        difference = 0.1 / (step + 1) ** 0.101 * rng.choice([-1.0, 1.0], len(point))
        slope = (search(point + difference) - search(point - difference)) / (2 * difference * search.unit)
        point = point - 0.05 * ((stability + 1) / (stability + 1 + step)) ** 0.602 * slope
    search.best = point  # not the best of those that were tried: that is the luckiest


def table(layers: int) -> Angles:
    """Angles of a number of layers; beyond the table's, those of its last row stretched."""
    if layers < 1:
        raise ProblemError(f"layers={layers}: at least one is accepted")
    if layers <= len(GAMMAS):
        return np.array(GAMMAS[layers - 1]), np.array(BETAS[layers - 1])
    old, new = ((np.arange(count) + 0.5) / count for count in (len(GAMMAS), layers))
    return np.interp(new, old, GAMMAS[-1]), np.interp(new, old, BETAS[-1])
