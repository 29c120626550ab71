"""The proposal of quantum-enhanced Markov chain Monte Carlo (Layden et al. 2023, arXiv 2203.12497).

From state s: evolve |s> for a time t under H = (1 - g) a H_prob + g sum X, and measure. H_prob is the diagonal of the
energies less their mean, a = ||sum X|| / ||H_prob|| (Frobenius), that is sqrt(n) / std: a H_prob are standardised
energies times sqrt(n). H is real and symmetric, so the evolution U is symmetric and so is the proposal |<s'|U|s>|^2,
for any energies. The second-order Trotter formula is a palindrome and keeps that exactly, however coarse; the half
phases at its ends do not change what is measured, so a step is exp(-i (1 - g) dt a H_prob), then exp(-i g dt sum X).

Shapes: n qubits, N = 2^n basis states (bit i of k is (k >> i) & 1), C chains.
"""

from math import cos, sin

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.simd.registers import cached

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
compiled = cached(error_model="python", fastmath=True)


class QuantumProposal:
    """Symmetric proposals by Trotterised evolution, simulated on the state vector.

    energies: float64 [N], of H_prob; their mean and scale do not matter. gammas: range of g, uniform, in each step of
    the chains. times: range of t, uniform. trotter_step: longest dt; the evolution takes ceil(t / trotter_step) steps
    of equal length. All chains of one call share g and t, as one circuit with C first states.

    Raises ValueError for energies that are not of 2^n states.
    """

    def __init__(
        self,
        energies: Floats,
        gammas: tuple[float, float] = (0.25, 0.6),
        times: tuple[float, float] = (2.0, 20.0),
        trotter_step: float = 0.8,
    ) -> None:
        self.bits = energies.size.bit_length() - 1
        self._cost = scaled(energies)
        self._gammas, self._times, self._trotter_step = gammas, times, trotter_step

    def propose(self, states: Ids, rng: np.random.Generator) -> Ids:
        """A proposal for each of the states int64 [C]."""
        gamma, time = rng.uniform(*self._gammas), rng.uniform(*self._times)
        draws = rng.random(states.size)
        proposed = np.empty(states.size, np.int64)
        _propose(self._cost, self.bits, *self._steps(gamma, time), states, draws, proposed)
        return proposed

    def matrix(self, gamma: float, time: float) -> Floats:
        """[N, N]: the probability of proposing column s' from row s, for given g and t."""
        size = self._cost.size
        re, im = np.eye(size), np.zeros((size, size))  # the states of all starts, one a column
        _evolve(re, im, self._cost, self.bits, *self._steps(gamma, time))
        return _transposed(re**2 + im**2)

    def mean_matrix(self, gammas: int = 8, times: int = 16) -> Floats:
        """[N, N]: `matrix` averaged over the ranges of g and t, by midpoints."""
        grid = [(gamma, time) for gamma in midpoints(self._gammas, gammas) for time in midpoints(self._times, times)]
        total = np.zeros((self._cost.size, self._cost.size))
        for gamma, time in grid:
            total += self.matrix(gamma, time)
        return total / len(grid)

    def _steps(self, gamma: float, time: float) -> tuple[float, float, int]:
        """Angle of the phases, angle of the mixer, and how many steps."""
        steps = max(1, int(np.ceil(time / self._trotter_step)))
        return (1 - gamma) * time / steps, gamma * time / steps, steps


def scaled(energies: Floats) -> Floats:
    """a H_prob: energies [N] less their mean, with a standard deviation of sqrt(n), or 0 where all are equal."""
    bits = energies.size.bit_length() - 1
    if energies.ndim != 1 or bits < 1 or energies.size != 1 << bits:
        raise ValueError(f"energies: shape {energies.shape}; [2^n] with n >= 1 is accepted")
    centred = energies - energies.mean()
    spread = float(np.sqrt(np.mean(centred**2)))
    return np.ascontiguousarray(centred * (bits**0.5 / spread if spread > 1e-12 * np.abs(energies).max() else 0.0))


def hamiltonian(energies: Floats, gamma: float) -> Floats:
    """H of the module's docstring, [N, N]."""
    cost = scaled(energies)
    states = np.arange(cost.size)
    matrix = np.diag((1 - gamma) * cost)
    for bit in range(cost.size.bit_length() - 1):
        matrix[states, states ^ (1 << bit)] += gamma
    return matrix


def midpoints(interval: tuple[float, float], count: int) -> Floats:
    """The middles of `count` equal parts of an interval."""
    return np.asarray(interval[0] + (interval[1] - interval[0]) * (np.arange(count) + 0.5) / count)


def _transposed(columns: Floats) -> Floats:
    """Columns are laws; rows are after it. Rounding errors of their sums are taken out."""
    return np.ascontiguousarray((columns / columns.sum(0)).T)


@compiled
def _turn(re: Floats, im: Floats, c: float, s: float) -> None:
    """Multiply by c - i s."""
    for i in range(re.size):
        x, y = re[i], im[i]
        re[i] = x * c + y * s
        im[i] = y * c - x * s


@compiled
def _rotate(low: Floats, high: Floats, c: float, s: float) -> None:
    """exp(-i b Y) on a pair of halves."""
    for i in range(low.size):
        x, y = low[i], high[i]
        low[i] = c * x - s * y
        high[i] = s * x + c * y


@compiled
def _evolve(re: Floats, im: Floats, cost: Floats, bits: int, phase: float, mixer: float, steps: int) -> None:
    """Evolve states, [N, C] each, up to signs and factors i, which no probability shows.

    exp(-i b X) = S exp(-i b Y) S* with S = diag(1, i) on each qubit: S commutes with the phases, so only the real
    rotations exp(-i b Y) of real and imaginary parts are left. The first phase is one of basis states: left out.
    """
    size, chains = re.shape
    cosines, sines = np.empty(size), np.empty(size)
    for k in range(size):
        cosines[k], sines[k] = cos(phase * cost[k]), sin(phase * cost[k])
    c, s = cos(mixer), sin(mixer)
    flat_re, flat_im = re.reshape(size * chains), im.reshape(size * chains)
    for step in range(steps):
        if step:
            for k in range(size):
                _turn(re[k], im[k], cosines[k], sines[k])
        for bit in range(bits):
            half = chains << bit
            for base in range(0, size * chains, 2 * half):
                middle, end = base + half, base + 2 * half
                _rotate(flat_re[base:middle], flat_re[middle:end], c, s)
                _rotate(flat_im[base:middle], flat_im[middle:end], c, s)


@compiled
def _propose(
    cost: Floats, bits: int, phase: float, mixer: float, steps: int, states: Ids, draws: Floats, proposed: Ids
) -> None:
    """Evolve the states of the chains, and measure each by inverse sampling."""
    size, chains = cost.size, states.size
    re, im = np.zeros((size, chains)), np.zeros((size, chains))
    for chain in range(chains):
        re[states[chain], chain] = 1.0
    _evolve(re, im, cost, bits, phase, mixer, steps)
    passed = np.zeros(chains)
    proposed[:] = states  # where rounding leaves a draw beyond the last state
    open_ = np.ones(chains, np.bool_)
    for k in range(size):
        for chain in range(chains):
            passed[chain] += re[k, chain] ** 2 + im[k, chain] ** 2
            if open_[chain] and draws[chain] < passed[chain]:
                proposed[chain], open_[chain] = k, False
