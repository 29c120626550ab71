"""Where QAOA starts and what its mixer does, for the simulators and for circuits alike."""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.errors import ProblemError

if TYPE_CHECKING:
    from hybrid_opt.problem.qubo import Qubo

Floats = NDArray[np.float64]
MixerName = Literal["auto", "x", "xy", "ring"]


class Mixer(NamedTuple):
    """The mixer of a Qubo's feasible states.

    blocks: qubits of each one-hot block. ring: whether blocks are mixed by pairs of neighbours instead of completely.
    free: qubits of no block. ones: how many of the free qubits are 1, None where that is free. starts: amplitudes of
    the first state, of each block's levels, then those of 0 and 1 of each free qubit (none under a cardinality); the
    complete mixer of a block or a qubit reflects about them. uniform: whether they are all equal.
    """

    blocks: tuple[tuple[int, ...], ...]
    ring: bool
    free: tuple[int, ...]
    ones: int | None
    starts: tuple[Floats, ...]
    uniform: bool


def mixer_of(qubo: "Qubo", name: MixerName = "auto", warm: Any = None, rounding: float = 0.25) -> Mixer:
    """The mixer of a name, for a Qubo.

    x: exp(i beta X) on all qubits, which takes no constraints. xy: the complete graph's XY mixer on one-hot blocks, X
    on free qubits; with a cardinality, pairs of neighbours in a ring among the free ones. ring: pairs in the blocks
    too. auto: x or xy. warm: bits [n], or probabilities of 1, to start from, kept within [rounding, 1 - rounding]
    (Egger et al. 2021).

    Raises ProblemError where they do not go together.
    """
    if name == "x" and qubo.constrained:
        raise ProblemError(
            "mixer=x: breaks the constraints of the problem; xy, or the problem's penalised() is accepted"
        )
    if name in ("xy", "ring") and not qubo.constrained:
        raise ProblemError(f"mixer={name}: the problem has no constraints to keep; x is accepted")
    used = {i for block in qubo.one_hot for i in block}
    free = tuple(i for i in range(qubo.n) if i not in used)
    ones = None if qubo.cardinality is None else qubo.cardinality - len(qubo.one_hot)
    if warm is None:
        starts: list[Floats] = [np.full(len(block), len(block) ** -0.5) for block in qubo.one_hot]
        starts += [np.full(2, 0.5**0.5)] * (len(free) if ones is None else 0)
        return Mixer(qubo.one_hot, name == "ring", free, ones, tuple(starts), True)
    if name == "ring" or ones is not None:
        raise ProblemError(
            "warm_start: mixers of neighbours in a ring have none; one-hot blocks with mixer=xy are accepted"
        )
    chances = np.clip(np.asarray(warm, np.float64), rounding, 1 - rounding)
    if chances.shape != (qubo.n,) or not np.isfinite(chances).all():
        raise ProblemError(f"warm_start: shape {chances.shape}; {qubo.n} bits or probabilities are accepted")
    starts = [np.sqrt(chances[list(block)] / chances[list(block)].sum()) for block in qubo.one_hot]
    starts += [np.sqrt([1 - chances[i], chances[i]]) for i in free]
    return Mixer(qubo.one_hot, False, free, None, tuple(starts), False)


def ring(count: int) -> list[tuple[int, int]]:
    """Neighbours in a ring, the even pairs first, then the odd ones, then the one that closes it."""
    pairs = [(i, i + 1) for start in (0, 1) for i in range(start, count - 1, 2)]
    return [*pairs, (count - 1, 0)] if count > 2 else pairs


def steps_of(mixer: Mixer) -> tuple[Floats, list[Any]]:
    """First state [N] and mixer steps on the feasible states, in the order of FeasibleSpace."""
    from hybrid_opt.simulator.product import Pairs, Reflection

    blocks = [len(block) for block in mixer.blocks]
    subset = _subsets(len(mixer.free), mixer.ones or 0)
    sizes = [*([2] * len(mixer.free) if mixer.ones is None else [len(subset)]), *blocks]
    starts = list(mixer.starts[len(blocks) :]) if mixer.ones is None else [np.full(len(subset), len(subset) ** -0.5)]
    starts += list(mixer.starts[: len(blocks)])
    total, inner, first = int(np.prod(sizes)), 1, np.ones(1)
    steps: list[Any] = []
    for place, (size, start) in enumerate(zip(sizes, starts, strict=True)):
        outer = total // (inner * size)
        first = np.multiply.outer(start, first).reshape(-1)
        if mixer.ones is not None and place == 0:
            steps.append(Pairs(outer, inner, size, _swaps(subset, len(mixer.free))))
        elif place >= len(sizes) - len(blocks) and mixer.ring:
            steps.append(Pairs(outer, inner, size, np.array(ring(size), np.int64).reshape(-1, 2)))
        else:
            steps.append(Reflection(outer, inner, start))
        inner *= size
    return first, steps


def _subsets(count: int, ones: int) -> NDArray[np.int64]:
    """Basis states of `count` qubits with so many ones, rising."""
    known: list[Any] = [np.zeros(1, np.int64)] + [np.zeros(0, np.int64)] * ones
    for bit in range(count):
        known[1:] = [np.concatenate([known[k], known[k - 1] | 1 << bit]) for k in range(1, ones + 1)]
    states: NDArray[np.int64] = known[ones]
    return states


def _swaps(states: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Pairs of states that differ by moving a one between neighbours of the ring."""
    pairs = []
    for i, j in ring(count):
        left = np.flatnonzero((states >> i & 1 == 1) & (states >> j & 1 == 0))
        right = np.searchsorted(states, states[left] ^ (1 << i | 1 << j))
        pairs.append(np.stack([left, right], 1))
    return np.concatenate([*pairs, np.zeros((0, 2), np.int64)])


class Moments(NamedTuple):
    """The energy over the feasible states: its mean, and its variance in parts that depend on one axis (a one-hot block
    or a free qubit) and on two; effects: float64 [n], the part of one axis as linear coefficients, up to a constant.
    """

    mean: float
    singles: float
    pairs: float
    axes: int
    effects: Floats

    @property
    def std(self) -> float:
        """The standard deviation; 1 where all energies are equal."""
        return (self.singles + self.pairs) ** 0.5 or 1.0

    @property
    def scale(self) -> float:
        """How large a phase of the standardised energy is to turn one axis as much as that of a problem of one axis.

        std over the root mean square of the energy's part in which one axis takes part: for dense couplings it grows as
        sqrt(n), as optimal gammas do on a standardised cost (weight rescaling: Shaydulin et al. 2023).
        """
        share = self.singles + 2 * self.pairs
        return (self.axes * self.std**2 / share) ** 0.5 if share else 1.0


def moments(qubo: "Qubo") -> Moments:
    """Moments in closed form, as if there were no cardinality among the free qubits; see `standardisation`.

    The energy is split into parts that have mean 0 along each of their axes; the variances of these add up.
    """
    used = {i for block in qubo.one_hot for i in block}
    axes = [*qubo.one_hot, *((i,) for i in range(qubo.n) if i not in used)]
    mean, spread = np.zeros(qubo.n), np.zeros((qubo.n, qubo.n))  # of the variables
    couplings = qubo.couplings.copy()
    for number, axis in enumerate(axes):
        members, k = list(axis), len(axis) if number < len(qubo.one_hot) else 2
        mean[members] = 1 / k
        spread[np.ix_(members, members)] = np.eye(len(members)) / k - 1 / k**2
        couplings[np.ix_(members, members)] = 0
    effects = qubo.linear + couplings @ mean
    centre = float(qubo.linear @ mean + mean @ couplings @ mean / 2 + qubo.offset)
    product = couplings @ spread
    return Moments(
        centre, float(effects @ spread @ effects), max(0.0, float(np.sum(product * product.T) / 2)), len(axes), effects
    )


def standardisation(qubo: "Qubo") -> tuple[float, float]:
    """Mean and standard deviation (1 instead of 0) of the energy over the feasible states; by enumeration of these
    under a cardinality.
    """
    if qubo.cardinality is None:
        known = moments(qubo)
        return known.mean, known.std
    energies = qubo.feasible_space().energies()
    return float(energies.mean()), float(energies.std()) or 1.0


def unentangled(qubo: "Qubo") -> "Qubo":
    """The part of a Qubo's energy that depends on one block or qubit: its phases entangle nothing.

    Raises ProblemError under a cardinality, whose mixer entangles.
    """
    from hybrid_opt.problem.qubo import Qubo

    if qubo.cardinality is not None:
        raise ProblemError("entangle=False: cardinality: the mixer that keeps it entangles; True is accepted")
    return Qubo(np.diag(moments(qubo).effects), one_hot=qubo.one_hot)
