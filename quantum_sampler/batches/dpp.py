"""The k-determinantal point process: repulsion by volume, sampled exactly."""

import numpy as np

from quantum_sampler.batches.engine import Local, Reads
from quantum_sampler.batches.law import BatchLaw
from quantum_sampler.selector import Floats, Ids


class Determinantal(Local):
    """P(Y) ~ det L_Y over |Y| = k, L = Q (I + S) Q, Q = diag(exp(fields / 2)), negative eigenvalues set to 0.

    Similarity and priorities are those of the law; its redundancy does not count. Sampling and inclusions are exact, by
    eigenvectors and elementary symmetric polynomials. Source: Kulesza and Taskar 2012, section 5.2.
    """

    def reads(self, law: BatchLaw, batches: int, rng: np.random.Generator) -> Reads:
        values, vectors = spectrum(law)
        forward, backward = symmetric(values, law.size), symmetric(values[::-1], law.size)[::-1]
        total = forward[-1, law.size]
        # A vector is chosen with its value, and size - 1 others on its left and right.
        others = np.einsum("nj,nj->n", forward[:-1, : law.size], backward[1:, law.size - 1 :: -1][:, : law.size])
        inclusion = vectors**2 @ (values * others / total)
        members = np.stack([_projection(vectors[:, _chosen(values, forward, rng)], rng) for _ in range(batches)])
        return Reads(members, np.minimum(inclusion, 1.0))


def spectrum(law: BatchLaw) -> tuple[Floats, Floats]:
    """Eigenvalues of L [N], the largest 1, and its eigenvectors [N, N] in columns."""
    quality = np.exp(law.fields / 2)
    values, vectors = np.linalg.eigh(quality[:, None] * (law.similarity + np.eye(len(law))) * quality)
    values = np.maximum(values, 0.0)
    return values / values[-1], vectors


def symmetric(values: Floats, degree: int) -> Floats:
    """Elementary symmetric polynomials [n, j] of the first n values, up to the degree: [N + 1, degree + 1]."""
    table = np.zeros((len(values) + 1, degree + 1))
    table[:, 0] = 1.0
    for n, value in enumerate(values):
        table[n + 1, 1:] = table[n, 1:] + value * table[n, :-1]
    return table


def _chosen(values: Floats, table: Floats, rng: np.random.Generator) -> Ids:
    """Indices of `degree` values, drawn in proportion to their product."""
    chosen = []
    left = table.shape[1] - 1
    for n in reversed(range(len(values))):
        if left and rng.random() * table[n + 1, left] < values[n] * table[n, left - 1]:
            chosen.append(n)
            left -= 1
    return np.array(chosen)


def _projection(basis: Floats, rng: np.random.Generator) -> Ids:
    """A draw of the projection process onto orthonormal columns [N, k], by the chain rule."""
    n, k = basis.shape
    members = np.empty(k, np.int64)
    chance = (basis**2).sum(1)
    directions = np.zeros((k, k))  # orthonormal rows: those that the chosen items span
    for place in range(k):
        cumulative = np.cumsum(np.maximum(chance, 0.0))
        item = min(int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")), n - 1)
        members[place] = item
        row = basis[item] - (directions[:place] @ basis[item]) @ directions[:place]
        directions[place] = row / np.sqrt(row @ row)
        chance -= (basis @ directions[place]) ** 2
        chance[members[: place + 1]] = 0.0
    return members
