"""QAOA with the X mixer on all basis states, on the processor."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hybrid_opt.simd.registers import cached
from hybrid_opt.simulator import kernels

Reals = NDArray[np.floating]
Floats = NDArray[np.float64]
compiled = cached(error_model="python", fastmath=True)
ALONE = 18  # up to so many qubits a state is the work of one thread: sharing it costs more than it gains


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> Reals:
    """An array of zeros that starts at a multiple of 64 bytes."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + 64, np.uint8)
    begin = -memory.ctypes.data % 64
    return memory[begin : begin + size].view(dtype).reshape(shape)


class Qubits:
    """States of n qubits under QAOA with the X mixer: B of them, each with angles of its own.

    costs, goals: [1 or B, 2^n], standardised energies in basis order, of the phases and of the values: one for all
    states, or one for each. dtype: float32 or float64, of real and imaginary parts. The same angles give the same
    numbers with any number of threads.
    """

    def __init__(self, costs: Reals, goals: Reals, dtype: DTypeLike, threads: int) -> None:
        self.bits = costs.shape[1].bit_length() - 1
        self.dtype, self.threads = np.dtype(dtype), threads
        self.costs = aligned(costs.shape, dtype)
        self.costs[:] = costs
        self.goals = self.costs
        if goals is not costs:
            self.goals = aligned(goals.shape, dtype)
            self.goals[:] = goals
        self._mirrored: Reals | None = None
        self._state = self._bra = aligned((2, 0, costs.shape[1]), dtype)
        low, high, width = kernels.geometry(self.bits, self.dtype.itemsize)
        self._units = min(1 << high, (self.dtype.itemsize << low) // width)
        self._scratch = [aligned((4 * (width << high) // self.dtype.itemsize,), dtype) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads, "qubits") if threads > 1 else None

    @staticmethod
    def fits(bits: int, dtype: DTypeLike) -> bool:
        """Whether there are enough qubits to fill the registers."""
        return bits >= (8 if np.dtype(dtype).itemsize == 4 else 7)

    def replace(self, rows: NDArray[np.int64], costs: Reals) -> None:
        """Other costs, which are the goals too, [R, 2^n] for these states; each state must have its own."""
        self.costs[rows] = costs
        if self._mirrored is not None:
            self._mirrored[rows] = costs[:, ::-1]

    def expectations(self) -> Floats:
        """The mean goals [B] after `forward`."""
        real, imaginary = self._state
        goals = self.goals
        if self._inverted.any():
            goals = np.where(self._inverted[:, None], goals[:, ::-1], goals)
        mean: Floats = _expectations(real, imaginary, goals)
        return mean

    def forward(self, gammas: Floats, betas: Floats) -> None:
        """Run the circuits of angles [B, p]."""
        quarter = np.rint(betas / (np.pi / 2))  # exp(i pi/2 X) only inverts the bits, so tangents need not exceed 1
        rest = betas - quarter * (np.pi / 2)
        layers = np.zeros((*betas.shape, 5))
        layers[..., 0], layers[..., 1] = gammas / (2 * np.pi), np.tan(rest)
        layers[..., 2] = layers[..., 3] = np.cos(rest) ** self.bits
        layers[:, 0, 2] *= 2.0 ** (-self.bits / 2)
        layers = np.concatenate([layers, np.zeros_like(layers[:, :1])], 1)
        layers[:, 1:, 4] = np.cumsum(quarter, 1) % 2
        self._layers = layers.astype(self.dtype)
        self._inverted = layers[:, -1, 4].astype(np.bool_)
        if layers[..., 4].any() and self._mirrored is None:
            self._mirrored = aligned(self.costs.shape, self.dtype)
            self._mirrored[:] = self.costs[:, ::-1]
        if self._state.shape[1] != len(betas):
            self._state = aligned((2, len(betas), self.costs.shape[1]), self.dtype)
        costs, layers_, state = (self.costs, self._other), self._layers, self._state

        def work(thread: int, rows: tuple[int, int], passes: tuple[int, int], part: int, parts: int) -> None:
            scratch = self._scratch[thread]
            kernels.forward(*state, *costs, layers_, self.bits, scratch, rows, passes, part, parts)

        self._run(work)

    def backward(self, roofs: Floats, slope: float) -> tuple[Floats, Floats, Floats]:
        """<slope * min(goal - roof, 0)> [B] of the states and its derivatives [B, p] by gammas and betas.

        The states are used up.
        """
        layers, state, dtype = self._layers, self._state, self.dtype
        if self._bra.shape != state.shape:
            self._bra = aligned(state.shape, dtype)
        batch, p = len(layers), layers.shape[1] - 1
        units = self._units if self.bits > ALONE else 1
        totals = np.zeros((min(units, 64), batch, 1 + 2 * p))
        goals = self.goals
        if self._inverted.any():
            goals = aligned((batch, state.shape[2]), dtype)
            for row, inverted in enumerate(self._inverted):
                goals[row] = self.goals[row % len(self.goals)][:: -1 if inverted else 1]
        costs, bra, roof, tilt = (
            (self.costs, self._other, goals),
            self._bra,
            roofs.astype(dtype),
            np.asarray(slope, dtype)[()],
        )

        def work(thread: int, rows: tuple[int, int], passes: tuple[int, int], part: int, parts: int) -> None:
            scratch, sums = self._scratch[thread], totals[part]
            kernels.backward(
                *state, *bra, *costs, layers, self.bits, roof, tilt, scratch, sums, rows, passes, part, parts
            )

        self._run(work)
        total = totals.sum(0)
        return total[:, 0], 2 * total[:, 1 : 1 + p], 2 * total[:, 1 + p :]

    def probabilities(self) -> Floats:
        """Of the basis states after `forward`, [B, 2^n]."""
        real, imaginary = self._state
        probabilities: Floats = np.square(real, dtype=np.float64)
        probabilities += np.square(imaginary, dtype=np.float64)
        for row in np.flatnonzero(self._inverted):
            probabilities[row] = probabilities[row, ::-1].copy()
        return probabilities

    @property
    def _other(self) -> Reals:
        return self.costs if self._mirrored is None else self._mirrored

    def _run(self, work: Callable[[int, tuple[int, int], tuple[int, int], int, int], None]) -> None:
        """Share the work out: states to threads, or the passes over large states, in parts that are always the same."""
        batch, p = len(self._layers), self._layers.shape[1] - 1
        if self.bits <= ALONE:
            shares = min(self.threads, batch)
            cuts = [batch * share // shares for share in range(shares + 1)]
            self._map(lambda share: work(share, (cuts[share], cuts[share + 1]), (0, p + 1), 0, 1), shares)
            return
        parts = min(self._units, 64)

        def share(row: int, step: int, thread: int) -> None:
            for part in range(thread, parts, self.threads):
                work(thread, (row, row + 1), (step, step + 1), part, parts)

        for row in range(batch):
            for step in range(p + 1):
                self._map(partial(share, row, step), self.threads)

    def _map(self, work: Callable[[int], None], count: int) -> None:
        if self._pool is None or count == 1:
            for number in range(count):
                work(number)
        else:
            list(self._pool.map(work, range(count)))


@compiled
def _expectations(real: Any, imaginary: Any, goals: Any) -> Any:
    means = np.zeros(len(real))
    for row in range(len(real)):
        total, norm = np.float32(0), np.float32(0)
        for k in range(real.shape[1]):
            chance = real[row, k] * real[row, k] + imaginary[row, k] * imaginary[row, k]
            total += chance * goals[row % len(goals), k]
            norm += chance
        means[row] = total / norm
    return means
