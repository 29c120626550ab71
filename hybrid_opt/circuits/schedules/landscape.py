"""The energy around a policy's first guess: what is known of it beforehand, and where to measure next.

Shapes: A parameters of a deformation, M coefficients of a cubic in them, E evaluations so far.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement, permutations
from math import comb, factorial, prod

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.circuits.schedules.features import ABOUT
from hybrid_opt.errors import ProblemError

Floats = NDArray[np.float64]
DEGREE = 3
ANY = 1.0  # variance of the energy of the first guess: only differences count, whatever is minimised
DRAWS = 8  # landscapes that are drawn for a step
RADIUS = 0.25  # of the trust region at first
LEAST = 1e-3  # of the trust region
EXACT = 1e-9  # variance of an energy without a standard error, that of single precision and more


class Cubic:
    """Monomials of at most three of `width` parameters, each over its factorials: Taylor coefficients go with them."""

    def __init__(self, width: int) -> None:
        self.width = width
        powers = [c for k in range(DEGREE + 1) for c in combinations_with_replacement(range(width), k)]
        self._scale = np.array([1 / prod(factorial(c.count(axis)) for axis in set(c)) for c in powers])
        self._factors = np.array([[*(axis + 1 for axis in c), *[0] * (DEGREE - len(c))] for c in powers]).T
        self._second = np.zeros((width,) * 2, np.int64)
        self._third = np.zeros((width,) * 3, np.int64)
        for place, axes in enumerate(powers):
            for order in permutations(axes):
                if len(axes) == 2:
                    self._second[order] = place
                if len(axes) == 3:
                    self._third[order] = place

    def __call__(self, points: Floats) -> Floats:
        """Monomials [E, M] at points [E, A]."""
        wide = np.concatenate([np.ones((len(points), 1)), points], 1)
        monomials: Floats = self._scale * wide[:, self._factors].prod(1)
        return monomials

    def derivatives(self, coefficients: Floats) -> tuple[Floats, Floats, Floats]:
        """The first three [A], [A, A], [A, A, A] at 0 of the cubic with these coefficients [M]."""
        return coefficients[1 : self.width + 1], coefficients[self._second], coefficients[self._third]

    def least(self, coefficients: Floats, centre: Floats, radius: float, steps: int = 3) -> Floats:
        """Where the cubic is least around `centre`, about: Newton steps within the ball, its offset [A] returned."""
        slope, curvature, third = self.derivatives(coefficients)
        offset: Floats = np.zeros(self.width)
        for _ in range(steps):
            here = centre + offset
            bent = third @ here
            hessian = curvature + bent
            gradient = slope + curvature @ here + bent @ here / 2
            offset = least_in_ball(gradient - hessian @ offset, hessian, radius)
        return offset


@lru_cache(maxsize=4)
def cubic(width: int) -> Cubic:
    """The cubic of so many parameters."""
    return Cubic(width)


def least_in_ball(slope: Floats, curvature: Floats, radius: float) -> Floats:
    """Where slope'x + x'Cx / 2 is least among |x| <= radius (Moré and Sorensen 1983), but for its hard case."""
    values, vectors = np.linalg.eigh(curvature)
    turned = vectors.T @ slope
    low = max(0.0, 1e-3 * max(float(values[-1]), 1e-3) - float(values[0]))
    high = low + float(np.linalg.norm(turned)) / radius
    if np.linalg.norm(turned / (values + low)) <= radius:
        high = low
    for _ in range(30 if high > low else 0):
        middle = (low + high) / 2
        inside = np.linalg.norm(turned / (values + middle)) <= radius
        low, high = (low, middle) if inside else (middle, high)
    found: Floats = vectors @ (-turned / (values + high))
    return found


@dataclass(frozen=True)
class Landscape:
    """A cubic with normal coefficients: the standardised energy around the first guess, over the training's problems.

    weights [1 + ABOUT, M]: the mean coefficients, linear in the problem's description. root [M, K]: times its transpose
    it is their covariance. misfit: variance of what a cubic leaves at the distance 1, with whose eighth power it grows.
    """

    weights: Floats
    root: Floats
    misfit: float

    def check(self, width: int) -> None:
        """Raise ProblemError where this is none of `width` parameters."""
        terms = comb(width + DEGREE, DEGREE)
        if self.weights.shape != (1 + ABOUT, terms) or self.root.shape[:1] != (terms,) or self.root.ndim != 2:
            raise ProblemError(
                f"policy: landscape of shapes {self.weights.shape}, {self.root.shape};"
                f" [{1 + ABOUT}, {terms}], [{terms}, K] is accepted"
            )
        if not (np.isfinite(self.weights).all() and np.isfinite(self.root).all() and 0 <= self.misfit < np.inf):
            raise ProblemError("policy: landscape is NaN or infinite")

    def mean(self, about: Floats) -> Floats:
        """The mean coefficients [M] of a problem with this description [ABOUT]."""
        mean: Floats = self.weights[0] + about @ self.weights[1:]
        return mean


def fitted(about: Floats, points: Floats, energies: Floats, ridge: float = 1e-3) -> Landscape:
    """The landscape of R problems with descriptions [R, ABOUT] and energies [R, E] at offsets [E, A] from their first
    guesses. At least one evaluation more than there are coefficients is needed.
    """
    monomials = cubic(points.shape[1])(points)
    problems, (count, terms) = len(about), monomials.shape
    if count <= terms:
        raise ProblemError(f"evaluations={count}: at least {terms + 1} are needed for {terms} coefficients")
    coefficients = np.linalg.lstsq(monomials, energies.T, rcond=None)[0].T
    left = energies - coefficients @ monomials.T
    shown = np.concatenate([np.ones((problems, 1)), about], 1)
    penalty = ridge * problems * np.diag([0.0] + [1.0] * about.shape[1])
    weights = np.linalg.solve(shown.T @ shown + penalty, shown.T @ coefficients)
    spread = coefficients - shown @ weights
    unit = np.sqrt(np.square(monomials).mean(0))  # so that what changes no energy is left out
    values, vectors = np.linalg.eigh(unit[:, None] * (spread.T @ spread / problems) * unit)
    root = (vectors * np.sqrt(np.maximum(values, 0)) / unit[:, None])[:, values > 1e-5 * values[-1]]
    far = np.square(points).sum(1) ** 4
    return Landscape(weights, root, float(np.square(left).mean() * count / (count - terms) / far.mean()))


class LandscapeSearch:
    """Evaluations around a first guess, and the landscape that they leave likely.

    A step goes where the expected improvement is greatest (Jones et al. 1998), among the least points of the expected
    landscape and of some that are drawn, each within a trust region around the best so far.
    """

    def __init__(self, landscape: Landscape, about: Floats, origin: Floats, rng: np.random.Generator) -> None:
        """about [ABOUT]: of the problem. origin [A]: the parameters of the first guess."""
        self._cubic, self._origin, self._rng = cubic(len(origin)), origin, rng
        self._mean, self._misfit = landscape.mean(about), landscape.misfit
        free = np.zeros((len(self._mean), 1))
        free[0] = ANY**0.5
        self._root = np.concatenate([landscape.root, free], 1)
        self._points: list[Floats] = []
        self._energies: list[float] = []
        self._errors: list[float] = []
        self._radius = RADIUS
        self._aimed: tuple[Floats, float] | None = None  # at the last step: from where, and what was to be undercut

    def note(self, parameters: Floats, energy: float, error: float) -> None:
        """An evaluation: parameters [A], its standardised energy with its standard error."""
        self._points.append(parameters - self._origin)
        self._energies.append(energy)
        self._errors.append(error)

    def best(self) -> Floats:
        """The parameters [A] of the least energy that was evaluated; where there are errors, of the least expected."""
        return self._origin + self._points[self._best()]

    def step(self) -> Floats:
        """The parameters [A] to evaluate next. At least one has to be noted."""
        self._adapt()
        centre = self._points[self._best()]
        mean, gain, monomials, noise = self._posterior(centre)
        offsets = [self._cubic.least(mean, centre, self._radius)]
        for _ in range(DRAWS):  # of the posterior, by Matheron's rule
            drawn = self._mean + self._root @ self._rng.normal(size=self._root.shape[1])
            seen = monomials @ drawn + np.sqrt(noise) * self._rng.normal(size=len(noise))
            drawn = drawn + gain @ (np.array(self._energies) - seen)
            offsets.append(self._cubic.least(drawn, centre, self._radius, steps=2))
        moves = np.array(offsets)
        there = self._cubic(centre + moves)
        spread = there @ self._root
        variance = np.square(spread).sum(1) - ((there @ gain) * (spread @ (monomials @ self._root).T)).sum(1)
        std = np.sqrt(np.maximum(variance, 0) + self._left(moves) + EXACT)
        aim = float((self._cubic(centre[None]) @ mean)[0]) if any(self._errors) else min(self._energies)
        self._aimed = centre, aim
        chosen: Floats = self._origin + centre + moves[int(improvement(aim - there @ mean, std).argmax())]
        return chosen

    def _adapt(self) -> None:
        """Shrink the trust region after an evaluation in vain; let it hold a step half as long again as a good one."""
        if self._aimed is None:
            return
        centre, aim = self._aimed
        length, good = float(np.linalg.norm(self._points[-1] - centre)), self._energies[-1] < aim
        self._radius = max(self._radius, 1.5 * length) if good else max(0.7 * self._radius, LEAST)

    def _best(self) -> int:
        place = int(np.argmin(self._energies))
        if any(self._errors):
            mean = self._posterior(self._points[place])[0]
            place = int((self._cubic(np.array(self._points)) @ mean).argmin())
        return place

    def _left(self, moves: Floats) -> Floats:
        """Variances [E] of what a cubic leaves at these offsets from the best."""
        variances: Floats = self._misfit * np.square(moves).sum(-1) ** 4
        return variances

    def _posterior(self, centre: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Mean [M] and gain [M, E] of the coefficients, the monomials [E, M] and variances [E] of the evaluations."""
        points = np.array(self._points)
        monomials = self._cubic(points)
        noise = self._left(points - centre) + np.square(self._errors) + EXACT
        spread = monomials @ self._root
        gain = self._root @ np.linalg.solve(spread @ spread.T + np.diag(noise), spread).T
        return self._mean + gain @ (np.array(self._energies) - monomials @ self._mean), gain, monomials, noise


def improvement(gains: Floats, std: Floats) -> Floats:
    """Expected improvements of normal values that are expected to be better by these gains."""
    from scipy.special import ndtr

    ratio = gains / std
    expected: Floats = gains * ndtr(ratio) + std * np.exp(-np.square(ratio) / 2) / np.sqrt(2 * np.pi)
    return expected


def offsets(width: int, count: int, radius: float, rng: np.random.Generator) -> Floats:
    """Points [count, width] around 0, and 0: random directions, distances up to 1.5 radius sqrt(width)."""
    points = rng.normal(size=(count, width))
    points *= 1.5 * radius * width**0.5 * rng.random((count, 1)) / np.linalg.norm(points, axis=1, keepdims=True)
    points[0] = 0.0
    return points
