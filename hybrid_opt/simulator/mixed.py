"""QAOA states of many Qubos of different sizes and constraints, which come and go one by one."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simd.threads import processors
from hybrid_opt.simulator.mixers import mixer_of, steps_of
from hybrid_opt.simulator.product import Product, compiled
from hybrid_opt.simulator.qaoa import draw
from hybrid_opt.simulator.qubits import Qubits

Floats = NDArray[np.float64]
Key = tuple[Any, ...]
FREE: Key = ()  # the group of all problems without constraints


class MixedSimulator:
    """R problems, simulated together as far as they agree in their constraints.

    Those without constraints are one batch of the same number of qubits: a qubit without weights changes no energy.
    Energies are standardised over the feasible states. lowest, highest: those of the best and the worst of them, [R].
    float32. bits: the most variables of a problem without constraints.
    """

    def __init__(self, rows: int, bits: int, threads: int | None = None) -> None:
        self.bits = max(bits, 8)  # fewer do not fill the registers
        self.threads = threads or processors()
        self.lowest, self.highest = np.zeros(rows), np.zeros(rows)
        self._keys: list[Key | None] = [None] * rows
        self._costs: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * rows
        self._groups: dict[Key, tuple[NDArray[np.int64], Any]] = {}  # rows and engine, where it is up to date
        self._mixers: dict[Key, Any] = {}

    def put_spins(self, rows: NDArray[np.int64], fields: Floats, couplings: Floats) -> None:
        """Problems h's + s'Js / 2 without constraints in these rows: fields [R, n], couplings [R, n, n], n <= bits."""
        costs = np.empty((len(rows), 1 << self.bits), np.float32)
        ends = np.empty((len(rows), 2))
        _spin_energies(_widened(fields, self.bits), _widened(couplings, self.bits), costs, ends)
        self.lowest[rows], self.highest[rows] = ends.T
        known = self._groups.get(FREE)
        for row, cost in zip(rows, costs, strict=True):
            self._assign(int(row), FREE, cost)
        if known is not None and FREE in self._groups:  # the same rows are in it as before
            known[1].replace(np.searchsorted(known[0], rows), costs)

    def put(self, row: int, qubo: Qubo) -> None:
        """A Qubo with its constraints in this row."""
        energies = qubo.feasible_space().energies()
        key: Key = (qubo.n, qubo.one_hot, qubo.cardinality)
        if key not in self._mixers:
            self._mixers[key] = steps_of(mixer_of(qubo))
        self._groups.pop(key, None)
        energies = energies - energies.mean()
        energies /= energies.std() or 1.0
        self.lowest[row], self.highest[row] = energies.min(), energies.max()
        self._assign(row, key, energies.astype(np.float32))

    def _assign(self, row: int, key: Key, cost: NDArray[np.float32]) -> None:
        before = self._keys[row]
        self._costs[row] = cost
        if before != key:
            self._groups.pop(before or FREE, None)
            self._groups.pop(key, None)
        self._keys[row] = key

    def values(self, gammas: Floats, betas: Floats) -> Floats:
        """The mean energies of angles [R, p], float64 [R]."""
        values = np.zeros(len(self._keys))
        for rows, engine in self._run(gammas, betas):
            values[rows] = engine.expectations()
        return values

    def sample(
        self, gammas: Floats, betas: Floats, shots: NDArray[np.int64], noise: Floats, rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Means of so many shots [R] each, and their standard errors, [R].

        noise: the probability [R] with which a shot is of the maximally mixed state of the feasible states.
        """
        means, errors = np.zeros(len(self._keys)), np.zeros(len(self._keys))
        for rows, engine in self._run(gammas, betas):
            for row, chances in zip(rows, engine.probabilities(), strict=True):
                numbers = draw(chances, int(shots[row]), rng)
                if noise[row] > 0:
                    mixed = rng.random(shots[row]) < noise[row]
                    numbers[mixed] = rng.integers(0, len(chances), int(mixed.sum()))
                energies = self._costs[row][numbers].astype(np.float64)
                means[row], errors[row] = energies.mean(), energies.std() / np.sqrt(shots[row])
        return means, errors

    def _run(self, gammas: Floats, betas: Floats) -> list[tuple[NDArray[np.int64], Any]]:
        keys = dict.fromkeys(key for key in self._keys if key is not None)
        groups = [self._group(key) for key in keys]
        for rows, engine in groups:
            engine.forward(gammas[rows], betas[rows])
        return groups

    def _group(self, key: Key) -> tuple[NDArray[np.int64], Any]:
        if key not in self._groups:
            rows = np.array([row for row, other in enumerate(self._keys) if other == key])
            costs: Any = np.stack([self._costs[row] for row in rows])
            threads = min(self.threads, len(rows))
            if key == FREE:
                engine: Any = Qubits(costs, costs, np.float32, threads)
            else:
                first, steps = self._mixers[key]
                engine = Product(costs, costs, first, steps, np.float32, threads)
            self._groups[key] = rows, engine
        return self._groups[key]


def _widened(array: Floats, size: int) -> Floats:
    """Zeros at the end of all axes but the first."""
    return np.pad(array, [(0, 0)] + [(0, size - length) for length in array.shape[1:]])


@compiled
def _spin_energies(fields: Any, couplings: Any, costs: Any, ends: Any) -> None:
    """Standardised energies of all states of spins 2x - 1, with the least and the greatest of each problem."""
    rows, bits = fields.shape
    energies, sums = np.empty(1 << bits), np.empty(1 << bits)
    for row in range(rows):
        energies[0] = 0.0
        variance = 0.0
        for i in range(bits):
            sums[0] = 2 * fields[row, i]
            variance += fields[row, i] ** 2
            for j in range(bits):
                sums[0] -= 2 * couplings[row, i, j]
                variance += couplings[row, i, j] ** 2 / 2
            for j in range(i):
                weight = 4 * couplings[row, i, j]
                for k in range(1 << j):
                    sums[(1 << j) + k] = sums[k] + weight
            for k in range(1 << i):
                energies[(1 << i) + k] = energies[k] + sums[k]
        mean, std = energies.sum() / len(energies), math.sqrt(variance) if variance > 0 else 1.0
        for k in range(len(energies)):
            energies[k] = (energies[k] - mean) / std
            costs[row, k] = energies[k]
        ends[row, 0], ends[row, 1] = energies.min(), energies.max()
