"""A device with known noise, by density matrices: see `noisy_law`; its read-out errs too."""

from collections.abc import Sequence
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.backends.backend import Bits, CircuitProgram
from hybrid_opt.backends.local.circuit_backend import CircuitBackend, draw
from tests.oracles.density_matrix import noisy_law


class NoisyDevice(CircuitBackend):
    """Depolarising noise p, a tenth of it after runs of gates on one qubit; bits flip with chances zero and one."""

    def __init__(self, p: float = 0.0, zero: float = 0.0, one: float = 0.0) -> None:
        super().__init__("noisy")
        self.p, self.flip = p, np.array([[1 - zero, one], [zero, 1 - one]])

    def _compile(self, circuit: Any, program: CircuitProgram) -> Any:
        return circuit

    def _depth(self, compiled: Any) -> int:
        return int(compiled.depth())

    def _probabilities(self, compiled: Any, program: CircuitProgram, stop: Event) -> Sequence[NDArray[np.float64]]:
        return [self.law(compiled.assign_parameters(row)) for row in program.parameters]

    def _samples(self, compiled: Any, program: CircuitProgram, seed: int, stop: Event) -> Sequence[Bits]:
        rng = np.random.default_rng(seed)
        return [draw(law, program.shots or 0, rng) for law in self._probabilities(compiled, program, stop)]

    def law(self, circuit: Any) -> NDArray[np.float64]:
        """What is read of a bound circuit: qubit 0 is the last axis, and the lowest bit."""
        state = noisy_law(circuit, self.p).reshape([2] * circuit.num_qubits)
        for axis in range(circuit.num_qubits):
            state = np.moveaxis(np.tensordot(self.flip, state, ([1], [axis])), 0, axis)
        return state.ravel()
