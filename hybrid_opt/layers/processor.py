"""A backend that runs the circuit of a layer: one job for all rows."""

import uuid
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.backends import check_name, open_backend
from hybrid_opt.backends.backend import Backend, CircuitProgram, Result
from hybrid_opt.backends.noise import Noise, check_one
from hybrid_opt.layers.plan import Plan

Floats = NDArray[np.float64]


class Processor:
    """Runs circuits on a backend, which is opened when it is first asked.

    backend: a name, or a Backend. noise: of all circuits, on a simulator that takes it. Copies of a layer share it.
    What was opened by name is left out of pickles, and is opened again. Raises ProblemError for a name that is none,
    and for a backend with noise of its own beside the given.
    """

    def __init__(self, backend: Any, noise: Noise | None = None) -> None:
        if isinstance(backend, str):
            check_name(backend)
        check_one(noise, backend)
        self._noise = None if noise is None else noise.aer()
        self.backend, self._open = backend, None if isinstance(backend, str) else backend

    @property
    def opened(self) -> Backend:
        """The backend itself."""
        if self._open is None:
            from hybrid_opt.backends.qiskit.loading import load_qiskit

            self._open = open_backend(self.backend)
            load_qiskit()  # before threads do
        opened: Backend = self._open
        return opened

    def outputs(self, circuit: Any, plan: Plan, angles: Floats, shots: int | None, seed: int) -> Floats:
        """Return what `plan` reads out, float64 [M, outputs], at angles [M, parameters of the circuit]: one job.

        The job has as many programs as the backend's limit of parameter sets asks for.
        """
        if not len(angles):
            return np.empty((0, plan.outputs))
        backend = self.opened
        observed = plan.readout != "probabilities" and backend.capabilities.observables
        observables = _observables(plan.qubits, plan.readout) if observed else ()
        step = backend.limits.parameter_sets or len(angles)
        programs = [
            CircuitProgram(circuit, angles[begin : begin + step], shots, observables, self._noise)
            for begin in range(0, len(angles), step)
        ]
        results = backend.submit(programs, uuid.uuid4().hex, seed).result()
        if observed:
            return np.concatenate([result.means for result in results])
        outputs: Floats = np.stack(list(_laws(results, plan.qubits))) @ plan.parity.numpy()
        return outputs

    def close(self) -> None:
        """Close the backend if it was opened here."""
        if isinstance(self.backend, str) and self._open is not None:
            self._open.close()
            self._open = None

    def __deepcopy__(self, memo: Any) -> "Processor":
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {
            "backend": self.backend,
            "_noise": self._noise,
            "_open": None if isinstance(self.backend, str) else self._open,
        }


def _laws(results: Sequence[Result], qubits: int) -> Iterator[Floats]:
    """Probabilities of the basis states, or their frequencies, [2^n] of each row."""
    for result in results:
        yield from result.probabilities
        for bits in result.samples:
            states = bits.astype(np.int64) @ (1 << np.arange(qubits, dtype=np.int64))
            yield np.bincount(states, minlength=1 << qubits) / len(bits)


@cache  # a backend keeps what it compiled by the identity of observables
def _observables(qubits: int, readout: str) -> tuple[Any, ...]:
    """Z of each qubit, then ZZ of neighbours where they are read out: qiskit SparsePauliOps."""
    from qiskit.quantum_info import SparsePauliOp

    sets = [[q] for q in range(qubits)] + ([[q, q + 1] for q in range(qubits - 1)] if readout == "zz" else [])
    return tuple(SparsePauliOp.from_sparse_list([("Z" * len(each), each, 1.0)], qubits) for each in sets)
