"""angles=optimised: one local run of an optimiser from the transferred angles."""

from contextlib import suppress
from typing import Any, Literal

import numpy as np

from hybrid_opt.circuits.schedules.table import Angles, Evaluate, Floats, transferred
from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simulator.mixers import moments

Method = Literal["adjoint", "cobyla", "spsa"]


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
