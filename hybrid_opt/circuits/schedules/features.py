"""What a policy that tunes QAOA angles sees of a problem and of its evaluations so far, and what its actions mean.

Angles are the transferred ones plus a deformation whose few parameters the policy moves. Shapes: R problems side by
side, n spins, p layers, A parameters of the deformation.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_opt.circuits.schedules.table import Angles, table
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simulator.mixers import moments

Floats = NDArray[np.float64]
ShapeName = Literal["ramp", "fourier"]
WIDTHS = {"ramp": 4, "fourier": 6}  # parameters of a deformation
ABOUT = 16  # numbers that describe a problem
HISTORY = 4  # evaluations that are remembered
REACH = 0.25  # change of a parameter by an action of 1, at first
SETTLING = 2.0  # evaluations after which it is half of that
FARTHEST = 1.5  # of a parameter from 0
ENERGY = 5.0  # differences of energy, in standard deviations, are shown that much larger


class Described(NamedTuple):
    """Problems as a policy sees them: about float64 [R, ABOUT - 1], all but the layers; scale of the gammas [R]."""

    about: Floats
    scale: Floats


def describe(fields: Floats, couplings: Floats, axes: ArrayLike, kind: ArrayLike = (0.0, 0.0, 0.0)) -> Described:
    """Rescaled moments of the weights of h's + s'Js / 2 with s in {-1, 1}^n; none depends on their unit.

    fields [R, n], couplings [R, n, n], symmetric with zeros on the diagonal; spins of no weight are allowed beyond the
    `axes` [R] that count. kind: [3] or [R, 3], the parts of one-hot and of cardinality variables, and the part of ones.
    """
    count = np.asarray(axes, np.float64) * np.ones(len(fields))
    singles = np.square(fields).sum(1)
    pairs = np.square(couplings).sum((1, 2)) / 2
    std = np.sqrt(singles + pairs)
    std[std == 0] = 1.0
    h, j = fields / std[:, None], couplings / std[:, None, None]
    singles, pairs = singles / std**2, pairs / std**2
    share = singles + 2 * pairs
    scale = np.where(share > 0, np.sqrt(count / np.where(share > 0, share, 1.0)), 1.0)
    square, weights = j @ j, np.square(j)
    places = np.maximum(count * (count - 1) / 2, 1.0)
    fourth = np.square(weights).sum((1, 2)) / 2 * places / 3 / np.maximum(pairs, 1e-12) ** 2
    strength = h**2 + weights.sum(2)
    uneven = count * np.square(strength).sum(1) / np.maximum(strength.sum(1), 1e-12) ** 2 - 1
    columns = [
        singles,
        np.log(scale),
        3 * (h * (j @ h[..., None])[..., 0]).sum(1),  # the third moment of the energy: its part of fields and pairs,
        (square * j).sum((1, 2)),  # and that of triangles
        np.square(square).sum((1, 2)) * count / 8,
        np.log(np.maximum(fourth, 1e-2)),  # 0 for normal weights
        uneven,
        j.sum((1, 2)) / 2 / np.sqrt(places * np.maximum(pairs, 1e-12)),
        h.sum(1) / np.sqrt(count * np.maximum(singles, 1e-12)),
        (np.abs(j) > 1e-9).sum((1, 2)) / 2 / places,
        count / 16,
        4 / count,
    ]
    kinds = np.broadcast_to(np.asarray(kind, np.float64), (len(fields), 3))
    return Described(np.concatenate([np.stack(columns, 1), kinds], 1), scale)


def describe_qubo(qubo: Qubo) -> Described:
    """The description of one Qubo. Constrained variables are taken relative to their mean and spread over a block."""
    fields, couplings = whitened(qubo)
    hot = sum(map(len, qubo.one_hot))
    free = qubo.n - hot if qubo.cardinality is not None else 0
    kind = (hot / qubo.n, free / qubo.n, (qubo.cardinality or 0) / qubo.n)
    return describe(fields[None], couplings[None], len(qubo.one_hot) + qubo.n - hot, kind)


def whitened(qubo: Qubo) -> tuple[Floats, Floats]:
    """Fields [n] and couplings [n, n] of variables of mean 0 and variance 1; of free ones these are spins, 2x - 1."""
    root = np.eye(qubo.n) / 2
    couplings = qubo.couplings.copy()
    for block in qubo.one_hot:
        place, k = np.ix_(block, block), len(block)
        root[place] = (np.eye(k) - 1 / k) / np.sqrt(k)
        couplings[place] = 0
    return root @ moments(qubo).effects, root @ couplings @ root


class Deformation:
    """Angles of parameters [R, A]: gammas in units of the problem's scale, and betas, around the transferred ones.

    ramp: lines, each by its two ends. fourier: three sines for the gammas, three cosines for the betas (Zhou et al.
    2020). most: the most layers; problems of fewer have angles of 0 at the end.
    """

    def __init__(self, shape: ShapeName, most: int) -> None:
        self.width, self.most = WIDTHS[shape], most
        half = self.width // 2
        self._centre = np.zeros((most + 1, 2, most))
        self._basis = np.zeros((most + 1, 2, half, most))
        for layers in range(1, most + 1):
            times = (np.arange(layers) + 0.5) / layers
            self._centre[layers, :, :layers] = table(layers)
            waves = np.pi * np.outer(np.arange(half) + 0.5, times)
            lines = np.stack([1 - times, times])
            parts = (lines, lines) if shape == "ramp" else (np.sin(waves), np.cos(waves))
            self._basis[layers, :, :, :layers] = parts

    def angles(self, parameters: Floats, layers: NDArray[np.int64], scale: Floats) -> Angles:
        """Gammas of the standardised cost and betas, [R, most] each."""
        halves = parameters.reshape(len(parameters), 2, -1)
        both = self._centre[layers] + np.einsum("rak,rakl->ral", halves, self._basis[layers])
        return both[:, 0] * scale[:, None], both[:, 1]


class Progress:
    """R searches for angles side by side: the best parameters so far, the last evaluations, the budget left.

    An action is a change of the best parameters, in units of `reach`, which shrinks with every evaluation; the first
    parameters are 0, the transferred angles.
    Energies are standardised: (E - mean) / std of the problem.
    """

    def __init__(self, rows: int, shape: ShapeName, most_layers: int, budget: int) -> None:
        self.deformation = Deformation(shape, most_layers)
        self.budget, width = budget, self.deformation.width
        self.about, self.scale = np.zeros((rows, ABOUT)), np.ones(rows)
        self.layers = np.ones(rows, np.int64)
        self.best: Floats = np.zeros((rows, width))
        self.candidate: Floats = np.zeros((rows, width))
        self.lowest: Floats = np.zeros(rows)
        self.error: Floats = np.zeros(rows)
        self.made = np.zeros(rows, np.int64)  # evaluations
        self._points: Floats = np.zeros((rows, HISTORY, width))
        self._energies: Floats = np.zeros((rows, HISTORY))

    @staticmethod
    def size(shape: ShapeName) -> int:
        """Numbers in an observation."""
        return ABOUT + (1 + HISTORY) * WIDTHS[shape] + HISTORY + 6

    def begin(self, rows: Any, described: Described, layers: ArrayLike) -> None:
        """New problems in these rows."""
        self.layers[rows], self.scale[rows] = layers, described.scale
        self.about[rows, :-1], self.about[rows, -1] = described.about, np.asarray(layers) / 8
        for array in (self.best, self.candidate, self.lowest, self.error, self.made, self._points, self._energies):
            array[rows] = 0

    def angles(self, parameters: Floats | None = None) -> Angles:
        """The angles of parameters [R, A], [R, most layers] each; by default of the best."""
        return self.deformation.angles(self.best if parameters is None else parameters, self.layers, self.scale)

    @property
    def reach(self) -> Floats:
        """Changes [R] of a parameter by an action of 1."""
        reach: Floats = REACH / (1 + self.made / SETTLING)
        return reach

    def propose(self, actions: ArrayLike) -> Angles:
        """The angles to evaluate next, for actions [R, A] in [-1, 1]."""
        steps = self.reach[:, None] * np.clip(np.asarray(actions, np.float64), -1, 1)
        self.candidate = np.clip(self.best + steps, -FARTHEST, FARTHEST)
        return self.angles(self.candidate)

    def note(self, energies: Floats, errors: Floats) -> NDArray[np.bool_]:
        """Standardised energies [R] of what was proposed, with standard errors; where it is the best so far."""
        better: NDArray[np.bool_] = (self.made == 0) | (energies < self.lowest)
        self._points = np.concatenate([self.candidate[:, None], self._points[:, :-1]], 1)
        self._energies = np.concatenate([energies[:, None], self._energies[:, :-1]], 1)
        self.best[better], self.lowest[better] = self.candidate[better], energies[better]
        self.error = np.asarray(errors, np.float64)
        self.made += 1
        return better

    def observe(self) -> NDArray[np.float32]:
        """What the policy sees, float32 [R, size]: parameters and energies relative to the best so far.

        In units of `reach` and of its square, so that near a minimum all evaluations look alike.
        """
        zoom = (REACH / self.reach)[:, None]
        known = np.arange(HISTORY) < self.made[:, None]
        points = np.where(known[..., None], self._points - self.best[:, None], 0) * zoom[..., None] / REACH
        energies = np.where(known, self._energies - self.lowest[:, None], 0) * ENERGY * zoom**2
        left = np.maximum(self.budget - self.made, 0)
        columns = [
            self.lowest,
            self.error * ENERGY * zoom[:, 0] ** 2,
            np.minimum(self.made, HISTORY) / HISTORY,
            left / max(self.budget, 1),
            1 / (1 + left),
            self.made == 0,
        ]
        parts = [self.about, self.best / REACH, points.reshape(len(points), -1), energies, np.stack(columns, 1)]
        seen: NDArray[np.float32] = np.clip(np.concatenate(parts, 1), -10, 10).astype(np.float32)
        return seen
