"""Backends that run circuits on this machine: one job at a time, in a thread."""

import threading
import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.backends.backend import Bits, CircuitProgram, Result
from hybrid_opt.backends.local.compiled import CompiledCircuits
from hybrid_opt.backends.local.observables import Basis
from hybrid_opt.backends.programs import Request, spawn
from hybrid_opt.cost import Cost
from hybrid_opt.errors import BackendError, Cancelled, ProblemError
from hybrid_opt.job import Job, ThreadJob

Floats = NDArray[np.float64]


class CircuitBackend(CompiledCircuits):
    """Base of the local backends. Subclasses give samples of a compiled circuit, and probabilities where they can.

    Where a subclass calls a device elsewhere, a job that failed on the way is booked at its estimate.
    Observables under shots take `shots` in each basis; a standard error is that of the sample mean.
    """

    def __init__(self, name: str, config: Any = None) -> None:
        super().__init__(name, config)
        self._lock = threading.Lock()

    def _submit(self, request: Request, key: str) -> Job[Any]:
        """Run one program after the other."""
        programs = [self._checked(program) for program in request.programs]
        compiled = [self._prepare(program) for program in programs]

        def work(stop: Event) -> Any:
            results = list[Result]()
            with self._lock:
                try:
                    for task in zip(programs, compiled, request.seeds, strict=True):
                        if stop.is_set():
                            raise Cancelled(f"job {key} was cancelled")
                        begin = time.perf_counter()
                        with self.calling("waiting"):
                            result = self._run(*task, stop)
                        results.append(_timed(result, time.perf_counter() - begin))
                except BackendError as error:
                    if self.capabilities.remote:  # the last one may have been sent, and nobody can look for it
                        doubtful = error.cost is None and not isinstance(error, Cancelled)
                        error.cost = (error.cost or Cost()) + self._estimate(programs[: len(results) + doubtful])
                    raise
            return request.given(results)

        return ThreadJob(key, work)

    def find(self, key: str) -> Job[Any] | None:
        """None: nothing outlives this process."""
        return None

    @abstractmethod
    def _samples(self, compiled: Any, program: CircuitProgram, seed: int, stop: Event) -> Sequence[Bits]:
        """uint8 [S, n] for each parameter set."""

    def _probabilities(self, compiled: Any, program: CircuitProgram, stop: Event) -> Sequence[Floats]:
        """float64 [2^n] for each parameter set."""
        raise ProblemError(f"shots=None: backend={self.name} has no exact mode; an integer >= 1 is accepted")

    def _run(self, program: CircuitProgram, compiled: list[tuple[Basis | None, Any]], seed: int, stop: Event) -> Result:
        circuits = len(compiled) * len(program.parameters)
        cost = Cost(shots=circuits * (program.shots or 0), circuits=circuits)
        about = {"depth": max(self._depth(circuit) for _, circuit in compiled)}
        if not program.observables:
            circuit = compiled[0][1]
            if program.shots is None:
                return Result(probabilities=tuple(self._probabilities(circuit, program, stop)), cost=cost, about=about)
            return Result(samples=tuple(self._samples(circuit, program, seed, stop)), cost=cost, about=about)
        means = np.zeros((len(program.parameters), len(program.observables)))
        variances = np.zeros_like(means)
        for k, (basis, circuit) in enumerate(compiled):
            assert basis is not None
            if program.shots is None:
                for row, law in enumerate(self._probabilities(circuit, program, stop)):
                    means[row] += basis.means(law)
            else:
                for row, bits in enumerate(self._samples(circuit, program, spawn(seed, k), stop)):
                    mean, variance = basis.statistics(bits)
                    means[row] += mean
                    variances[row] += variance
        return Result(means=means, errors=np.sqrt(variances), cost=cost, about=about)


def draw(law: Floats, shots: int, rng: np.random.Generator) -> Bits:
    """Bits uint8 [shots, n] of a law float64 [2^n], by inverse sampling."""
    cumulated = law.cumsum()
    states = cumulated.searchsorted(rng.random(shots) * cumulated[-1], side="right").clip(max=len(law) - 1)
    bits: Bits = ((states[:, None] >> np.arange(len(law).bit_length() - 1)) & 1).astype(np.uint8)
    return bits


def need_bytes(needed: int, what: str) -> None:
    """Raise ProblemError where memory does not allow that many bytes."""
    available = _available()
    if needed > available:
        raise ProblemError(f"circuit: {what} needs {needed:,} bytes of memory; {available:,} are available")


def memory_qubits(bytes_per_amplitude: int) -> int:
    """The most qubits whose state fits into memory."""
    return max(1, (_available() // bytes_per_amplitude).bit_length() - 1)


def _available() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


def _timed(result: Result, seconds: float) -> Result:
    return replace(result, cost=result.cost + Cost(wall_seconds=seconds))
