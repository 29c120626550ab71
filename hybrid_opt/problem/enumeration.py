"""All states of a Qubo, or all feasible ones, with their energies, at about two additions a state."""

from math import comb, prod

import numpy as np
from numpy.typing import ArrayLike

from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.quadratic import Bits, Floats, Quadratic

LARGEST = 1 << 24  # states whose energies are computed at once


class FeasibleSpace:
    """The feasible states of a Qubo, numbered 0..size-1: a product of one-hot blocks and the free bits.

    size: how many there are. shape: (len(last block), ..., len(first block), states of the free bits), the shape of
    energies() as a tensor, the last axis fastest. An index along a block's axis is the position of its 1. The free bits
    (of no block) are numbered as basis states are, bit 0 the first of them; under a cardinality only the subsets of
    that size are numbered, in the same order (colexicographic). Without constraints the number is the basis state's.
    """

    def __init__(self, qubo: Quadratic) -> None:
        self.qubo, self.blocks = qubo, qubo.one_hot
        used = {i for block in self.blocks for i in block}
        self.free = tuple(i for i in range(qubo.n) if i not in used)
        self.ones = None if qubo.cardinality is None else qubo.cardinality - len(self.blocks)
        self.free_states = 1 << len(self.free) if self.ones is None else comb(len(self.free), self.ones)
        self.shape = (*(len(block) for block in reversed(self.blocks)), self.free_states)
        self.size = prod(self.shape)

    def energies(self) -> Floats:
        """The energy of every state, float64 [size].

        Raises ProblemError above 2^24 states.
        """
        energies = self.forms()
        energies += self.qubo.offset
        return energies

    def forms(self) -> Floats:
        """The energies without the offset, by which states are ranked."""
        if self.size > LARGEST:
            raise ProblemError(
                f"{self.size} feasible states of {self.qubo.n} variables need {8 * self.size} bytes and as many "
                f"energies; up to {LARGEST} are accepted"
            )
        linear, couplings = self.qubo.linear, self.qubo.couplings
        free = list(self.free)
        known = self.free_states
        energies = np.empty(self.size)
        if self.ones is None:
            _double(linear[free], couplings[np.ix_(free, free)], energies[:known])
        else:
            energies[:known] = _subset_energies(linear[free], couplings[np.ix_(free, free)], self.ones)
        for place, block in enumerate(self.blocks):
            # The first digit is written last: the others still read the energies of the states before the block.
            for digit in reversed(range(len(block))):
                out, row = energies[digit * known : (digit + 1) * known], couplings[block[digit]]
                np.add(energies[:known], self._fields(row, place), out=out)
                out += linear[block[digit]]
            known *= len(block)
        return energies

    def bits(self, numbers: ArrayLike) -> Bits:
        """The states of these numbers [...], int8 [..., n]."""
        rest = np.array(numbers, np.int64)
        bits = np.zeros((*rest.shape, self.qubo.n), np.int8)
        rest, free = np.divmod(rest, self.free_states)
        if self.ones is None:
            for place, i in enumerate(self.free):
                bits[..., i] = (free >> place) & 1
        else:
            left = np.full(free.shape, self.ones)
            for place, i in reversed(list(enumerate(self.free))):
                below = np.array([min(comb(place, ones), self.free_states) for ones in range(self.ones + 1)])[left]
                taken = (free >= below) & (left > 0)
                bits[..., i] = taken
                free = free - below * taken
                left = left - taken
        for block in self.blocks:
            rest, digit = np.divmod(rest, len(block))
            np.put_along_axis(bits, np.array(block)[digit][..., None], 1, -1)
        return bits

    def draw(self, count: int, rng: np.random.Generator) -> Bits:
        """States drawn uniformly, with replacement, int8 [count, n]; of spaces of any size."""
        bits = rng.integers(0, 2, (count, self.qubo.n), np.uint8).view(np.int8)
        for group, ones in self.qubo.groups:
            order = np.array(group)[rng.random((count, len(group))).argsort(1)]
            np.put_along_axis(bits, order, (np.arange(len(group)) < ones).astype(np.int8)[None], 1)
        return bits

    def _fields(self, row: Floats, blocks: int) -> Floats:
        """sum_j row_j x_j over the free bits and the first blocks, for all their states."""
        free = row[list(self.free)]
        sums = _doubled(free) if self.ones is None else _subset_sums(free, self.ones)
        for block in self.blocks[:blocks]:
            sums = np.add.outer(row[list(block)], sums).ravel()
        return sums


def diagonal(qubo: Quadratic) -> Floats:
    """The energies of all 2^n states in the order of basis states, feasible or not, float64 [2^n], by spin doubling.

    Raises ProblemError above 24 variables.
    """
    if qubo.n > LARGEST.bit_length() - 1:
        raise ProblemError(
            f"the energies of all states of {qubo.n} variables need {8 << qubo.n} bytes; "
            f"up to {LARGEST.bit_length() - 1} variables are accepted"
        )
    energies = np.empty(1 << qubo.n)
    _double(qubo.linear, qubo.couplings, energies)
    energies += qubo.offset
    return energies


def k_best(qubo: Quadratic, k: int) -> tuple[Bits, Floats]:
    """The k feasible states of least energy (all, where there are fewer), and their energies; equal ones by number."""
    if k < 1:
        raise ProblemError(f"k={k}: a positive number is accepted")
    space = FeasibleSpace(qubo)
    energies = space.forms()
    if k == 1:
        best = np.array([energies.argmin()])
    elif k < space.size:
        last = np.partition(energies, k - 1)[k - 1]
        below, ties = np.flatnonzero(energies < last), np.flatnonzero(energies == last)
        best = np.sort(np.concatenate([below, ties[: k - len(below)]]))
    else:
        best = np.arange(space.size)
    bits = space.bits(best)
    exact = qubo.form(bits)
    order = np.argsort(exact, kind="stable")
    return bits[order], exact[order] + qubo.offset


def _double(linear: Floats, couplings: Floats, out: Floats) -> None:
    """Energies of all states of n bits into out [2^n]: those with bit i set are those without, plus its field."""
    out[0] = 0.0
    for i in range(len(linear)):
        upper = out[1 << i : 2 << i]
        upper[0] = linear[i]
        for j in range(i):
            np.add(upper[: 1 << j], couplings[i, j], out=upper[1 << j : 2 << j])
        upper += out[: 1 << i]


def _doubled(weights: Floats) -> Floats:
    """sum_i weights_i x_i for all states x, [2^n]."""
    sums = np.zeros(1 << len(weights))
    for i, weight in enumerate(weights):
        np.add(sums[: 1 << i], weight, out=sums[1 << i : 2 << i])
    return sums


def _subset_sums(weights: Floats, k: int) -> Floats:
    """The sums of all k of the weights, in colexicographic order, [comb(n, k)].

    The k-subsets whose largest member is m are the first comb(m, k-1) of the (k-1)-subsets, with m.
    """
    n = len(weights)
    if 2 * k > n and _even(weights):  # the complements, which come in reverse order
        return np.asarray(weights.sum() - _subset_sums(weights, n - k)[::-1] if k < n else weights.sum()[None])
    sums = weights[: n - k + 1] if k else np.zeros(1)
    for size in range(2, k + 1):
        sums = np.concatenate([sums[: comb(m, size - 1)] + weights[m] for m in range(size - 1, n - k + size)])
    return sums


def _subset_energies(linear: Floats, couplings: Floats, k: int) -> Floats:
    """The energies of all states of n bits with k ones, in colexicographic order, [comb(n, k)]."""
    n = len(linear)
    if 2 * k > n and _even(linear, couplings):  # in terms of the zeros, which come in reverse order
        all_ones = linear.sum() + couplings.sum() / 2
        return np.asarray(all_ones + _subset_energies(-linear - couplings.sum(1), couplings, n - k)[::-1])
    energies = np.zeros(1)
    for size in range(1, k + 1):
        energies = np.concatenate(
            [
                energies[: comb(m, size - 1)] + (_subset_sums(couplings[m, :m], size - 1) + linear[m])
                for m in range(size - 1, n - k + size)
            ]
        )
    return energies


def _even(*coefficients: Floats) -> bool:
    """Whether sums of all coefficients, less some, keep what the smallest of them says.

    One that forbids, such as 1e17 among ones, would round it away.
    """
    sizes = np.abs(np.concatenate([each.ravel() for each in coefficients]))
    sizes = sizes[sizes > 0]
    return not len(sizes) or bool(sizes.sum() * 2.0**-40 <= sizes.min())
