"""Pools for the tests, and how far draws are from an exact law."""

import numpy as np

from quantum_sampler.batches import BatchLaw, similarity


def law_of(pool: int, size: int, seed: int = 0, redundancy: float = 2.0, temperature: float = 1.0) -> BatchLaw:
    rng = np.random.default_rng(seed)
    alike = similarity(rng.normal(size=(pool, 5)), np.ones(pool, bool))
    return BatchLaw(rng.normal(size=pool), alike, size, redundancy, temperature)


def excess(law: BatchLaw, members: np.ndarray, rng: np.random.Generator) -> float:
    """Total variation between draws [R, k] and the law, over that which as many exact draws would show."""
    batches, chances = law.exact()
    names = (1 << batches).sum(1)
    counts = np.bincount(np.searchsorted(names, (1 << members).sum(1)), minlength=len(names))
    assert counts.size == len(names)
    reads = len(members)
    ideal = rng.multinomial(reads, chances, 20) / reads
    return float((np.abs(counts / reads - chances).sum() - np.abs(ideal - chances).sum(1).mean()) / 2)


def exact_inclusion(law: BatchLaw) -> np.ndarray:
    batches, chances = law.exact()
    inclusion = np.zeros(len(law))
    np.add.at(inclusion, batches.ravel(), np.repeat(chances, law.size))
    return inclusion
