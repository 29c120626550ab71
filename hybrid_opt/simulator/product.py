"""QAOA on a product of levels, on the processor: the feasible states of constrained problems, and warm starts.

A mixer is a list of steps on the state seen as [outer, levels, inner]. A reflection with the amplitudes u of the first
state is exp(2 i beta |u><u|): with uniform u of two levels that is exp(i beta X) and of the K levels of a one-hot block
the XY mixer of the complete graph, exp(i beta 2/K (J - 1)), up to a global phase (Hadfield et al. 2019; Baertschi and
Eidenbenz 2020; warm starts: Egger et al. 2021). Pairs are exp(i beta (XX + YY) / 2) on pairs of qubits, one after the
other, where a number of ones is kept: each turns some pairs of levels by exp(i beta X).
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hybrid_opt.simd.registers import cached

Floats = NDArray[np.float64]
compiled = cached()


class Reflection(NamedTuple):
    """exp(2 i beta |u><u|) on one axis."""

    outer: int
    inner: int
    amplitudes: Floats


class Pairs(NamedTuple):
    """exp(i beta X) on pairs of levels of one axis, int64 [pairs, 2], one after the other."""

    outer: int
    inner: int
    levels: int
    pairs: NDArray[np.int64]


Step = Reflection | Pairs


class Product:
    """States under QAOA with a mixer of steps: B of them, each with angles of its own.

    costs, goals: [1 or B, N], standardised, of the phases and of the values. first: the state at the start, [N], real.
    dtype: float32 or float64.
    """

    def __init__(
        self, costs: Floats, goals: Floats, first: Floats, steps: list[Step], dtype: DTypeLike, threads: int
    ) -> None:
        self.complex = np.complex64 if np.dtype(dtype).itemsize == 4 else np.complex128
        self.costs, self.goals, self.first = costs.astype(dtype), goals.astype(dtype), first.astype(self.complex)
        table: list[tuple[int, ...]] = []
        amplitudes: list[Floats] = [np.zeros(0)]
        pairs: list[NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]
        for step in steps:
            if isinstance(step, Reflection):
                table.append((0, step.outer, len(step.amplitudes), step.inner, sum(map(len, amplitudes)), 0))
                amplitudes.append(step.amplitudes)
            else:
                begin = sum(map(len, pairs))
                table.append((1, step.outer, step.levels, step.inner, begin, begin + len(step.pairs)))
                pairs.append(step.pairs)
        self._mixer = (np.array(table, np.int64), np.concatenate(amplitudes).astype(dtype), np.concatenate(pairs))
        self._state = np.empty((0, len(first)), self.complex)
        self._pool = ThreadPoolExecutor(threads, "product") if threads > 1 else None

    def forward(self, gammas: Floats, betas: Floats) -> None:
        """Run the circuits of angles [B, p]."""
        self._angles = gammas, betas
        self._state = np.empty((len(gammas), len(self.first)), self.complex)

        def work(row: int) -> None:
            self._state[row] = self.first
            _forward(self._state[row], self._cost(row), gammas[row], betas[row], *self._mixer)

        self._map(work)

    def backward(self, roofs: Floats, slope: float) -> tuple[Floats, Floats, Floats]:
        """<slope * min(goal - roof, 0)> [B] of the states and its derivatives [B, p]. The states are used up."""
        gammas, betas = self._angles
        values, by_gamma, by_beta = np.zeros(len(gammas)), np.zeros_like(gammas), np.zeros_like(betas)

        def work(row: int) -> None:
            state, cost, goal = self._state[row], self._cost(row), self.goals[row % len(self.goals)]
            weights = slope * np.minimum(goal - goal.dtype.type(roofs[row]), 0)
            bra = (state * weights).astype(self.complex)
            values[row] = np.vdot(state, bra).real
            angles = gammas[row], betas[row], by_gamma[row], by_beta[row]
            _backward(state, bra, cost, *angles, *self._mixer)

        self._map(work)
        return values, by_gamma, by_beta

    def probabilities(self) -> Floats:
        """Of the states after `forward`, [B, N]."""
        probabilities: Floats = np.square(self._state.real, dtype=np.float64)
        probabilities += np.square(self._state.imag, dtype=np.float64)
        return probabilities

    def expectations(self) -> Floats:
        """The mean goals [B] after `forward`."""
        means: Floats = np.einsum("bk,bk->b", self.probabilities(), self.goals)
        return means

    def _cost(self, row: int) -> NDArray[np.floating]:
        cost: NDArray[np.floating] = self.costs[row % len(self.costs)]
        return cost

    def _map(self, work: Callable[[int], None]) -> None:
        rows = range(len(self._state))
        list(map(work, rows) if self._pool is None or len(rows) == 1 else self._pool.map(work, rows))


@compiled
def _phase(state: Any, cost: Any, gamma: float) -> None:
    for k in range(len(state)):
        angle = gamma * cost[k]
        state[k] *= complex(math.cos(angle), -math.sin(angle))


@compiled
def _reflect(state: Any, outer: int, levels: int, inner: int, amplitudes: Any, factor: complex) -> None:
    """state += factor |u><u| state on one axis."""
    for o in range(outer):
        base = o * levels * inner
        for i in range(base, base + inner):
            total = 0j
            for level in range(levels):
                total += amplitudes[level] * state[i + level * inner]
            total *= factor
            for level in range(levels):
                state[i + level * inner] += amplitudes[level] * total


@compiled
def _overlap(bra: Any, ket: Any, outer: int, levels: int, inner: int, amplitudes: Any) -> float:
    """Re <bra| 2 i |u><u| |ket>."""
    sum_ = 0.0
    for o in range(outer):
        base = o * levels * inner
        for i in range(base, base + inner):
            left = right = 0j
            for level in range(levels):
                left += amplitudes[level] * bra[i + level * inner]
                right += amplitudes[level] * ket[i + level * inner]
            sum_ -= 2 * (left.real * right.imag - left.imag * right.real)
    return sum_


@compiled
def _turn(state: Any, a: int, b: int, cosine: float, sine: complex) -> None:
    x, y = state[a], state[b]
    state[a] = cosine * x + sine * y
    state[b] = cosine * y + sine * x


@compiled
def _forward(state: Any, cost: Any, gammas: Any, betas: Any, steps: Any, amplitudes: Any, pairs: Any) -> None:
    for layer in range(len(gammas)):
        _phase(state, cost, gammas[layer])
        cosine, sine = math.cos(betas[layer]), math.sin(betas[layer])
        for number in range(len(steps)):
            kind, outer, levels, inner, begin, end = steps[number]
            if kind == 0:
                factor = complex(math.cos(2 * betas[layer]) - 1, math.sin(2 * betas[layer]))
                _reflect(state, outer, levels, inner, amplitudes[begin : begin + levels], factor)
                continue
            for o in range(outer):
                for pair in range(begin, end):
                    a, b = (o * levels + pairs[pair, 0]) * inner, (o * levels + pairs[pair, 1]) * inner
                    for i in range(inner):
                        _turn(state, a + i, b + i, cosine, sine * 1j)


@compiled
def _backward(
    ket: Any, bra: Any, cost: Any, gammas: Any, betas: Any, by_gamma: Any, by_beta: Any,
    steps: Any, amplitudes: Any, pairs: Any,
) -> None:  # fmt: skip
    for layer in range(len(gammas) - 1, -1, -1):
        total, cosine, sine = 0.0, math.cos(betas[layer]), math.sin(betas[layer])
        for number in range(len(steps) - 1, -1, -1):
            kind, outer, levels, inner, begin, end = steps[number]
            if kind == 0:
                factor = complex(math.cos(2 * betas[layer]) - 1, -math.sin(2 * betas[layer]))
                first = amplitudes[begin : begin + levels]
                total += _overlap(bra, ket, outer, levels, inner, first)
                _reflect(ket, outer, levels, inner, first, factor)
                _reflect(bra, outer, levels, inner, first, factor)
                continue
            for o in range(outer):
                for pair in range(end - 1, begin - 1, -1):
                    a, b = (o * levels + pairs[pair, 0]) * inner, (o * levels + pairs[pair, 1]) * inner
                    for i in range(inner):
                        x, y = bra[a + i].conjugate() * ket[b + i], bra[b + i].conjugate() * ket[a + i]
                        total -= x.imag + y.imag
                        _turn(ket, a + i, b + i, cosine, sine * -1j)
                        _turn(bra, a + i, b + i, cosine, sine * -1j)
        by_beta[layer] = 2 * total
        total = 0.0
        for k in range(len(ket)):
            total += cost[k] * (bra[k].real * ket[k].imag - bra[k].imag * ket[k].real)
        by_gamma[layer] = 2 * total
        _phase(ket, cost, -gammas[layer])
        _phase(bra, cost, -gammas[layer])
