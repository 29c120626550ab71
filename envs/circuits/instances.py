"""Random problems to tune circuits on: families of Qubos, drawn many at a time."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.problem.qubo import Qubo

Floats = NDArray[np.float64]
Family = Literal["maxcut", "sk", "qubo", "onehot", "cardinality", "file"]
Weights = Literal["uniform", "normal", "exponential", "unit", "sign"]
DENSITY = 0.5  # of the edges of MaxCut
BLOCK = 3  # variables of a one-hot block


class Spins(NamedTuple):
    """Problems h's + s'Js / 2 of spins in {-1, 1}: fields [R, n], couplings [R, n, n], sizes [R] (the rest is 0)."""

    fields: Floats
    couplings: Floats
    sizes: NDArray[np.int64]


def draw_spins(
    families: Sequence[str] | NDArray[np.str_],
    sizes: NDArray[np.int64],
    widest: int,
    weights: str,
    rng: np.random.Generator,
) -> Spins:
    """Problems without constraints, one of each of these families and sizes.

    maxcut: weighted edges between half of the pairs. sk: Sherrington-Kirkpatrick, normal couplings of all pairs. qubo:
    normal weights of all bits and pairs of bits. weights: those of MaxCut.
    """
    rows, names = len(sizes), np.asarray(families)
    real = np.arange(widest) < sizes[:, None]
    upper = np.triu(real[:, :, None] & real[:, None, :], 1)
    couplings = np.where(upper, rng.normal(size=(rows, widest, widest)), 0.0)
    fields = np.zeros((rows, widest))
    cut = np.flatnonzero(names == "maxcut")
    if len(cut):
        edges = rng.random((len(cut), widest, widest)) < DENSITY
        edges[:, 0, 1] = True  # never none
        couplings[cut] = np.where(upper[cut] & edges, _weights(weights, edges.shape, rng), 0.0)
    couplings += couplings.transpose(0, 2, 1)
    dense = np.flatnonzero(names == "qubo")
    if len(dense):  # of bits: a pair adds to both fields
        couplings[dense] /= 4
        fields[dense] = np.where(real[dense], rng.normal(size=(len(dense), widest)), 0.0) / 2
        fields[dense] += couplings[dense].sum(2)
    return Spins(fields, couplings, sizes)


def draw_qubo(family: str, size: int, rng: np.random.Generator) -> Qubo:
    """A problem with constraints, of normal weights: one-hot blocks of three, or half of the bits set."""
    matrix = rng.normal(size=(size, size))
    if family == "cardinality":
        return Qubo(matrix, cardinality=size // 2)
    blocks = [tuple(range(start, start + BLOCK)) for start in range(0, size - size % BLOCK, BLOCK)]
    return Qubo(matrix, one_hot=blocks)


def qubo_of(spins: Spins, row: int) -> Qubo:
    """One of the problems as a Qubo of its bits x = (1 + s) / 2."""
    n = int(spins.sizes[row])
    fields, couplings = spins.fields[row, :n], spins.couplings[row, :n, :n]
    matrix = 2 * couplings + np.diag(2 * fields - 2 * couplings.sum(1))
    return Qubo(matrix, float(couplings.sum() / 2 - fields.sum()))


def _weights(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    draws: dict[str, Callable[[], Any]] = {
        "uniform": lambda: 1 - rng.random(shape),
        "normal": lambda: rng.normal(size=shape),
        "exponential": lambda: rng.exponential(size=shape),
        "unit": lambda: np.ones(shape),
        "sign": lambda: rng.choice([-1.0, 1.0], shape),
    }
    return np.asarray(draws[name]())
