"""Whole batches drawn from a pool: the fixed-size Ising law, engines that sample it, and its classical controls."""

from quantum_sampler.batches.engine import Draw, Engine, Reads, drawn
from quantum_sampler.batches.law import BatchLaw, matched, similarity
from quantum_sampler.batches.registry import ENGINES, EngineName, make_engine

__all__ = [
    "ENGINES",
    "BatchLaw",
    "Draw",
    "Engine",
    "EngineName",
    "Reads",
    "drawn",
    "make_engine",
    "matched",
    "similarity",
]
