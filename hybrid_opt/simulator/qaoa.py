"""QAOA states of Qubos: expectations, gradients, distributions and samples."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simulator.mixers import Mixer, MixerName, mixer_of, steps_of

Floats = NDArray[np.float64]
Precision = Literal["complex64", "complex128"]


class Engine(Protocol):
    """Where states are kept: standardised costs, angles [B, p]."""

    def forward(self, gammas: Floats, betas: Floats) -> None: ...
    def backward(self, roofs: Floats, slope: float) -> tuple[Floats, Floats, Floats]: ...
    def probabilities(self) -> Floats: ...


class QaoaSimulator:
    """States of QAOA, batched: one Qubo with many angles, or as many Qubos as angles, all with the same constraints.

    Only feasible states are kept, N of them, numbered as `Qubo.feasible_space()` does (basis states without
    constraints). A layer is exp(i beta mixer) exp(-i gamma (C - mean) / std), mean and std over the feasible states.
    mixer: a name for `mixer_of`, or a Mixer. phases: Qubos whose energies the phases take instead, divided by
    the same std. device: cpu, or a device of PyTorch. threads: default all processors, or
    OMP_NUM_THREADS. One call at a time.

    Raises ProblemError where the states need more memory than there is, and for Qubos that differ in their constraints.
    """

    def __init__(
        self,
        qubos: Qubo | Sequence[Qubo],
        *,
        mixer: MixerName | Mixer = "auto",
        phases: Qubo | Sequence[Qubo] | None = None,
        precision: Precision = "complex64",
        device: str = "cpu",
        threads: int | None = None,
        states: int = 1,
    ) -> None:
        batch = [qubos] if isinstance(qubos, Qubo) else list(qubos)
        drive = [phases] if isinstance(phases, Qubo) else list(phases or ())
        first = batch[0]
        if any((q.n, q.one_hot, q.cardinality) != (first.n, first.one_hot, first.cardinality) for q in batch + drive):
            raise ProblemError("qubos: those of a batch must agree in n, one_hot and cardinality")
        self.space = first.feasible_space()
        self.size = self.space.size
        self.mixer = mixer if isinstance(mixer, Mixer) else mixer_of(first, mixer)
        real = np.float32 if precision == "complex64" else np.float64
        check_memory(self.size, first.n, len(batch), max(states, len(batch)), precision)
        self.energies = np.stack([qubo.feasible_space().energies() for qubo in batch])  # [1 or B, N]
        self.mean, self.std = self.energies.mean(1), self.energies.std(1)
        self.std[self.std == 0] = 1.0
        goals = costs = (self.energies - self.mean[:, None]) / self.std[:, None]
        if drive:
            costs = np.stack([qubo.feasible_space().energies() for qubo in drive])
            costs = (costs - costs.mean(1, keepdims=True)) / self.std[:, None]
        self._highest = goals.max(1)
        self._order: NDArray[np.int64] | None = None
        self.engine = self._engine(costs, goals, first, real, device, threads)

    def _engine(
        self, costs: Floats, goals: Floats, qubo: Qubo, real: type[Any], device: str, threads: int | None
    ) -> Engine:
        if device != "cpu":
            from hybrid_opt.simulator.tensors import Tensors

            return Tensors(costs, goals, *steps_of(self.mixer), real, device)
        from hybrid_opt.simd.threads import processors
        from hybrid_opt.simulator.qubits import Qubits

        threads = threads or processors()
        if not qubo.constrained and self.mixer.uniform and Qubits.fits(qubo.n, real):
            return Qubits(costs, goals, real, threads)
        from hybrid_opt.simulator.product import Product

        return Product(costs, goals, *steps_of(self.mixer), real, threads)

    def probabilities(self, gammas: ArrayLike, betas: ArrayLike) -> Floats:
        """Of the feasible states for angles [B, p], float64 [B, N]."""
        self.engine.forward(*self._angles(gammas, betas))
        probabilities = self.engine.probabilities()
        normalised: Floats = probabilities / probabilities.sum(1, keepdims=True)
        return normalised

    def value(self, gammas: ArrayLike, betas: ArrayLike, alpha: float = 1.0) -> Floats:
        """Mean energy for angles [B, p], float64 [B]; with alpha < 1 the CVaR, the mean of the lowest part alpha."""
        gammas, betas = self._angles(gammas, betas)
        self.engine.forward(gammas, betas)
        probabilities = self.engine.probabilities()
        roofs = self._roofs(len(gammas), probabilities, alpha)
        costs = self.energies - self.mean[:, None]
        costs /= self.std[:, None]
        tails = np.minimum(costs - roofs[:, None], 0)
        values: Floats = self.mean + self.std * (roofs + np.einsum("bk,bk->b", tails, probabilities) / alpha)
        return values

    def gradient(self, gammas: ArrayLike, betas: ArrayLike, alpha: float = 1.0) -> tuple[Floats, Floats, Floats]:
        """The values of `value` [B] and their derivatives by gammas and betas, float64 [B, p] each.

        By the adjoint method, in the memory of two states. The quantile of the CVaR is held fixed, as its envelope
        theorem allows (Rockafellar and Uryasev 2000).
        """
        gammas, betas = self._angles(gammas, betas)
        self.engine.forward(gammas, betas)
        roofs = self._roofs(len(gammas), None if alpha == 1 else self.engine.probabilities(), alpha)
        values, by_gamma, by_beta = self.engine.backward(roofs, 1 / alpha)
        scale = self.std[:, None]
        return self.mean + self.std * (roofs + values), scale * by_gamma, scale * by_beta

    def sample(
        self, gammas: ArrayLike, betas: ArrayLike, shots: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.integer[Any]], Floats]:
        """Bits int8 [B, shots, n] and energies float64 [B, shots], drawn for angles [B, p] by inverse sampling."""
        probabilities = self.probabilities(gammas, betas)
        numbers = np.stack([draw(row, shots, rng) for row in probabilities])
        energies = self.energies if len(self.energies) > 1 else np.broadcast_to(self.energies, probabilities.shape)
        return self.space.bits(numbers), np.take_along_axis(energies, numbers, 1)

    def _angles(self, gammas: ArrayLike, betas: ArrayLike) -> tuple[Floats, Floats]:
        pair = np.atleast_2d(np.asarray(gammas, np.float64)), np.atleast_2d(np.asarray(betas, np.float64))
        rows = len(self.energies)
        if pair[0].shape != pair[1].shape or rows not in (1, len(pair[0])) or not pair[0].size:
            raise ProblemError(
                f"angles: shapes {pair[0].shape}, {pair[1].shape}; [{rows if rows > 1 else 'B'}, layers] twice"
            )
        if not (np.isfinite(pair[0]).all() and np.isfinite(pair[1]).all()):
            raise ProblemError("angles: NaN or infinite; finite ones are accepted")
        return pair

    def _roofs(self, batch: int, probabilities: Floats | None, alpha: float) -> Floats:
        """Standardised costs [B] above which nothing counts: the highest, or the quantile alpha."""
        if not 0 < alpha <= 1:
            raise ProblemError(f"alpha={alpha}: a number in (0, 1] is accepted")
        if alpha == 1 or probabilities is None:
            highest: Floats = self._highest[np.arange(batch) % len(self._highest)]
            return highest
        if self._order is None:
            self._order = np.argsort(self.energies, 1, kind="stable")
        sources = np.arange(batch) % len(self.energies)
        states = [_quantile(self._order[k], row, alpha) for k, row in zip(sources, probabilities, strict=True)]
        roofs: Floats = (self.energies[sources, states] - self.mean) / self.std
        return roofs


def _quantile(order: NDArray[np.int64], probabilities: Floats, alpha: float) -> int:
    """The first state in this order by which the probability of `alpha` is reached."""
    done, total = 0, 0.0
    while done < len(order):  # most of it is soon reached
        part = order[done : 2 * done + 4096]
        reached = total + np.cumsum(probabilities[part])
        if reached[-1] >= alpha:
            return int(part[np.searchsorted(reached, alpha)])
        done, total = done + len(part), float(reached[-1])
    return int(order[-1])


def draw(probabilities: Floats, shots: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers of states, int64 [shots], by inverse sampling."""
    cumulative = np.cumsum(probabilities)
    numbers: NDArray[np.int64] = np.searchsorted(cumulative, rng.random(shots) * cumulative[-1], side="right")
    return np.minimum(numbers, len(probabilities) - 1, out=numbers)


def check_memory(size: int, n: int, qubos: int = 1, states: int = 1, precision: Precision = "complex64") -> None:
    """Raise ProblemError where `states` states of `size` amplitudes do not fit, with the bytes that are needed."""
    import psutil

    real = 4 if precision == "complex64" else 8
    needed, free = size * (qubos * (16 + real) + states * (4 * real + 8)), psutil.virtual_memory().available
    if needed > free:
        raise ProblemError(
            f"qubo: {size:,} states of {n} variables need {needed:,} bytes to simulate; {free:,} are free"
        )
