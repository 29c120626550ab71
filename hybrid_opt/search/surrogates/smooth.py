"""The smooth pairwise model: Gaussian processes over ordered levels, on main effects and on pairs."""

from collections.abc import Callable
from dataclasses import dataclass as plain
from itertools import combinations
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.search.surrogate import Floats, Levels, Observations, Surrogate, one_hot_qubo

Kernel = Literal["rbf", "matern52", "matern32", "laplace"]
SMALLEST = 1e-6  # variance of noise that is always there, so that the covariance can be factorised
REACH = 4.0  # standard deviations of the priors within which the hyperparameters stay


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class SmoothConfig:
    """kernel: of ordered parameters. thompson: how often a proposal minimises a draw from the posterior rather than its
    mean; temperature: of the draw's deviation from the mean, 1 is the posterior itself. steps: of fitting the
    hyperparameters (L-BFGS, from those of the last fit), done at every `every`-th observation; 0 keeps their prior.
    window: the most recent observations that are kept, with the best one.
    """

    kernel: Kernel = "rbf"
    thompson: Annotated[float, Field(ge=0, le=1)] = 0.5
    temperature: NonNegativeFloat = 1.0
    steps: NonNegativeInt = 10
    every: PositiveInt = 2
    window: PositiveInt = 300


class SmoothPairwise(Surrogate):
    """value = m + sum_i f_i(x_i) + sum_{i<j} f_ij(x_i, x_j) + noise, with Gaussian-process priors.

    m ~ N(0, 1), f_i ~ GP(0, s1/d k_i), f_ij ~ GP(0, s2/(d(d-1)/2) k_i k_j): an additive model of order two (Duvenaud,
    Nickisch, Rasmussen 2011, arXiv 1112.4394) restricted to levels. k_i is a kernel of the distance in [0, 1], or of
    the option being another one, exp(-1/length); 0 where a point lacks the parameter. So mean and posterior draws are
    sums over levels and pairs of levels: one-hot Qubos, without approximation. Lengths, s1, s2 and the noise maximise
    the posterior under log-normal priors. A draw is the prior's, moved by what it misses of the observations
    (Matheron's rule; Wilson et al. 2020, arXiv 2002.09309).
    """

    name = "smooth"
    Config = SmoothConfig

    def __init__(self, config: SmoothConfig) -> None:
        super().__init__(config)
        self.theta: Floats = np.zeros(0)  # logarithms of the lengths [d], of the deviations of f_i, f_ij and the noise
        self._seen: Observations | None = None
        self._fitted = 0

    def fit(self, observations: Observations, rng: np.random.Generator) -> None:
        seen = observations.recent(self.config.window)
        prior = Prior.of(seen.ordered)
        count = len(observations.values)
        fresh = self._seen is None or self._seen.ordered != seen.ordered or len(self.theta) != len(prior.mean)
        if fresh:
            self.theta, self._fitted = prior.mean, 0
        self._seen = seen
        if self.config.steps and (fresh or abs(count - self._fitted) >= self.config.every):
            objective = evidence(seen, prior, self.config.kernel)
            bounds = np.column_stack([prior.mean - REACH * prior.deviation, prior.mean + REACH * prior.deviation])
            found: Any = minimize(
                objective,
                self.theta,
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": self.config.steps},
            )
            self.theta, self._fitted = found.x, count
        self._condition()

    def mean(self, levels: Levels) -> Qubo:
        return self._qubo(levels, self._weights)

    def qubo(self, levels: Levels, rng: np.random.Generator) -> Qubo:
        if rng.random() >= self.config.thompson or not self.config.temperature:
            return self.mean(levels)
        return self._draw(levels, rng)

    def _condition(self) -> None:
        """Factorise the covariance of the observations."""
        assert self._seen is not None
        x = self._seen.positions
        self._main, self._pair, self._noise = _variances(self.theta, x.shape[1])
        self._lengths = np.exp(self.theta[: x.shape[1]])
        kernels = np.array([self._kernel(i, x[:, i], x[:, i]) for i in range(x.shape[1])])
        covariance = _covariance(kernels, self._main, self._pair)
        covariance[np.diag_indices(len(x))] += self._noise
        self._factor = cho_factor(covariance, lower=True)
        self._weights: Floats = cho_solve(self._factor, self._seen.values)

    def _kernel(self, i: int, a: Floats, b: Floats) -> Floats:
        assert self._seen is not None
        ordered = self._seen.ordered[i]
        distances, present = _distances(a, b, ordered)
        name = self.config.kernel if ordered else "laplace"
        return np.asarray(KERNELS[name](distances / self._lengths[i])[0] * present)

    def _qubo(
        self,
        levels: Levels,
        weights: Floats,
        offset: float = 0.0,
        main: dict[int, Floats] | None = None,
        pairs: dict[tuple[int, int], Floats] | None = None,
    ) -> Qubo:
        """What the weights of the observations say of all levels, plus a function's offset, main effects and pairs."""
        assert self._seen is not None
        x, main, pairs = self._seen.positions, main or {}, pairs or {}
        cross = [self._kernel(i, np.asarray(level), x[:, i]) for i, level in enumerate(levels)]  # [L, N]
        linear = [self._main * rows @ weights + main.get(i, 0.0) for i, rows in enumerate(cross)]
        blocks = {
            (i, j): self._pair * (cross[i] * weights) @ cross[j].T + pairs.get((i, j), 0.0)
            for i, j in combinations(range(len(levels)), 2)
        }
        return one_hot_qubo(linear, blocks, float(weights.sum()) + offset)

    def _draw(self, levels: Levels, rng: np.random.Generator) -> Qubo:
        """A draw from the posterior at the levels, its deviation from the mean times the temperature."""
        assert self._seen is not None
        x, heat = self._seen.positions, self.config.temperature
        grids, places, rows, roots = [], [], [], []
        for i, level in enumerate(levels):
            there = np.isfinite(x[:, i])
            grid, back = np.unique(np.concatenate([level, x[there, i]]), return_inverse=True)
            grids.append(grid)
            places.append(back[: len(level)])
            row = np.full(len(x), -1)
            row[there] = back[len(level) :]
            rows.append(row)
            roots.append(_root(self._kernel(i, grid, grid)))
        offset = rng.normal()
        at_data = np.full(len(x), offset)
        main, pairs = {}, {}
        for i, root in enumerate(roots):
            f = np.sqrt(self._main) * (root @ rng.normal(size=root.shape[1]))
            at_data += np.where(rows[i] >= 0, f[rows[i]], 0.0)
            main[i] = heat * f[places[i]]
        for i, j in combinations(range(len(levels)), 2):
            normals = rng.normal(size=(roots[i].shape[1], roots[j].shape[1]))
            f = np.sqrt(self._pair) * (roots[i] @ normals @ roots[j].T)
            at_data += np.where((rows[i] >= 0) & (rows[j] >= 0), f[rows[i], rows[j]], 0.0)
            pairs[i, j] = heat * f[np.ix_(places[i], places[j])]
        at_data += np.sqrt(self._noise) * rng.normal(size=len(x))
        weights = self._weights - heat * np.asarray(cho_solve(self._factor, at_data))
        return self._qubo(levels, weights, heat * offset, main, pairs)


@plain(frozen=True)
class Prior:
    """Independent normals over the logarithms of lengths, deviations and noise: means and deviations [d + 3]."""

    mean: Floats
    deviation: Floats

    @staticmethod
    def of(ordered: tuple[bool, ...]) -> "Prior":
        """Lengths about half the range (or about 1 of another option), effects about 1, pairs 1/2, noise 1/10."""
        lengths = [np.log(0.5) if each else 0.0 for each in ordered]
        return Prior(np.array([*lengths, 0.0, -0.7, -2.3]), np.array([*np.ones(len(lengths)), 1.0, 1.0, 1.5]))


def evidence(seen: Observations, prior: Prior, kernel: Kernel) -> Callable[[Floats], tuple[float, Floats]]:
    """The negative logarithm of likelihood times prior, up to a constant, and its gradient, of theta [d + 3]."""
    x, values = seen.positions, seen.values
    n, d = x.shape
    tables = [_Table.of(x[:, i], ordered) for i, ordered in enumerate(seen.ordered)]
    names = [kernel if ordered else "laplace" for ordered in seen.ordered]

    def objective(theta: Floats) -> tuple[float, Floats]:
        main, pair, noise = _variances(theta, d)
        kernels, slopes = np.empty((d, n, n)), []
        for i, table in enumerate(tables):
            k, slope = KERNELS[names[i]](table.distances * np.exp(-theta[i]))
            kernels[i] = table.spread(k * table.present)
            slopes.append(slope * table.present)
        total = kernels.sum(0)
        crossed = (total * total - np.einsum("dnm,dnm->nm", kernels, kernels)) / 2
        covariance = 1.0 + main * total + pair * crossed
        covariance[np.diag_indices(n)] += noise
        factor = cho_factor(covariance, lower=True)
        inverse = cho_solve(factor, np.eye(n))
        weights = inverse @ values
        off = (theta - prior.mean) / prior.deviation
        value = 0.5 * float(values @ weights) + float(np.log(np.diagonal(factor[0])).sum()) + 0.5 * float(off @ off)
        outer = 0.5 * (inverse - np.outer(weights, weights))
        gradient = off / prior.deviation
        shared = outer * (main + pair * total)
        crossed_outer = pair * outer
        for i, table in enumerate(tables):
            gradient[i] += float(np.vdot(slopes[i], table.gather(shared - crossed_outer * kernels[i])))
        gradient[d] += 2 * main * float(np.vdot(outer, total))
        gradient[d + 1] += 2 * pair * float(np.vdot(outer, crossed))
        gradient[d + 2] += 2 * (noise - SMALLEST) * float(np.trace(outer))
        return value, gradient

    return objective


@plain(frozen=True)
class _Table:
    """The different positions of a parameter, L with "it is not there": what every point has, and their distances."""

    rows: NDArray[np.int64]  # [N]
    distances: Floats  # [L, L]
    present: Floats  # [L, L]
    which: Floats  # [L, N], 1 where the point has the position

    @staticmethod
    def of(column: Floats, ordered: bool) -> "_Table":
        grid, rows = np.unique(column, return_inverse=True)  # NaN is one of them
        distances, present = _distances(grid, grid, ordered)
        return _Table(rows, distances, present, (rows == np.arange(len(grid))[:, None]).astype(np.float64))

    def spread(self, table: Floats) -> Floats:
        """[L, L] to [N, N]."""
        return np.asarray(table[self.rows[:, None], self.rows])

    def gather(self, weights: Floats) -> Floats:
        """[N, N] to [L, L]: the sums over points; the transpose of `spread`."""
        return np.asarray(self.which @ weights @ self.which.T)


def _variances(theta: Floats, d: int) -> tuple[float, float, float]:
    """Of each main effect, of each pair, and of the noise."""
    main, pair, noise = np.exp(2 * theta[d:])
    return float(main) / d, float(pair) / max(1.0, d * (d - 1) / 2), float(noise) + SMALLEST


def _covariance(kernels: Floats, main: float, pair: float) -> Floats:
    """Of observations without noise, from the kernels of the parameters [d, N, N]."""
    total = kernels.sum(0)
    return np.asarray(1.0 + main * total + pair * (total * total - (kernels * kernels).sum(0)) / 2)


def _distances(a: Floats, b: Floats, ordered: bool) -> tuple[Floats, Floats]:
    """Between positions a [N] and b [M], and whether both have the parameter: float64 [N, M] each."""
    apart = np.abs(a[:, None] - b) if ordered else (a[:, None] != b).astype(np.float64)
    present = np.isfinite(a)[:, None] & np.isfinite(b)
    return np.where(present, apart, 0.0), present.astype(np.float64)


def _root(kernel: Floats) -> Floats:
    """R with R R' = kernel, which may be singular."""
    values, vectors = np.linalg.eigh(kernel)
    kept = values > 1e-10 * values[-1]
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))


def _rbf(r: Floats) -> tuple[Floats, Floats]:
    squared = r * r
    k = np.exp(-0.5 * squared)
    return k, k * squared


def _matern52(r: Floats) -> tuple[Floats, Floats]:
    s = np.sqrt(5.0) * r
    decay = np.exp(-s)
    return (1 + s + s * s / 3) * decay, decay * s * s * (1 + s) / 3


def _matern32(r: Floats) -> tuple[Floats, Floats]:
    s = np.sqrt(3.0) * r
    decay = np.exp(-s)
    return (1 + s) * decay, decay * s * s


def _laplace(r: Floats) -> tuple[Floats, Floats]:
    k = np.exp(-r)
    return k, k * r


# A kernel of r = distance / length, and its derivative by the logarithm of the length.
KERNELS: dict[str, Callable[[Floats], tuple[Floats, Floats]]] = {
    "rbf": _rbf,
    "matern52": _matern52,
    "matern32": _matern32,
    "laplace": _laplace,
}
