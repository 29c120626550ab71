"""Circuits of a kernel on a backend: one job."""

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np

from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import CircuitProgram
from hybrid_opt.errors import ProblemError
from hybrid_opt.overlaps.overlap import Floats


def frequencies(circuits: Sequence[Any], values: Floats, backend: Any, shots: int | None, seed: int) -> list[Floats]:
    """Return for each circuit the frequencies of the basis states, [P, 2^n], at all values [P, parameters].

    shots=None: probabilities. A backend that is given by name is opened, and closed afterwards. Raises ProblemError
    where it runs no circuits.
    """
    opened = open_backend(backend)
    try:
        if not opened.capabilities.circuits:
            raise ProblemError(f"overlap.backend={opened.name}: runs no circuits; one that does is accepted")
        if not len(values):
            return [np.empty((0, 1 << circuit.num_qubits)) for circuit in circuits]
        step = opened.limits.parameter_sets or len(values)
        parts = [values[begin : begin + step] for begin in range(0, len(values), step)]
        programs = [CircuitProgram(circuit, part, shots) for circuit in circuits for part in parts]
        results = opened.submit(programs, uuid.uuid4().hex, seed).result()
    finally:
        if opened is not backend:
            opened.close()
    laws = [np.array([*result.probabilities, *(_law(bits) for bits in result.samples)]) for result in results]
    return [np.concatenate(laws[begin : begin + len(parts)]) for begin in range(0, len(laws), len(parts))]


def _law(bits: Any) -> Floats:
    """Frequencies [2^n] of samples [S, n]."""
    states = bits.astype(np.int64) @ (1 << np.arange(bits.shape[1], dtype=np.int64))
    found: Floats = np.bincount(states, minlength=1 << bits.shape[1]) / len(bits)
    return found
