"""Whole batches drawn from a pool: the fixed-size Ising law, engines that sample it, and its classical controls."""

from quantum_sampler.batches.engine import Draw, Engine, Reads, drawn
from quantum_sampler.batches.law import BatchLaw, matched, similarity
from quantum_sampler.batches.registry import ENGINES, check_engine, make_engine

__all__ = [
    "ENGINES",
    "BatchLaw",
    "Draw",
    "Engine",
    "Reads",
    "check_engine",
    "drawn",
    "make_engine",
    "matched",
    "similarity",
]
