"""Energies of QAOA circuits from a backend, for tuning where there is no simulation."""

import uuid
from threading import Event

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import CircuitProgram
from hybrid_opt.backends.qiskit.loading import load_qiskit
from hybrid_opt.circuits.qaoa import qaoa_program
from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simulator.mixers import mixer_of, standardisation
from hybrid_opt.solvers.running import run

Floats = NDArray[np.float64]


class BackendEnergies:
    """Measured standardised energies; one program for each problem."""

    def __init__(self, backend: str) -> None:
        load_qiskit()
        self.backend = open_backend(backend)
        if not self.backend.capabilities.circuits:
            self.backend.close()
            raise ProblemError(f"env.kwargs.backend={backend}: runs no circuits")

    def __call__(
        self,
        qubos: list[Qubo],
        gammas: Floats,
        betas: Floats,
        layers: NDArray[np.int64],
        shots: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> tuple[Floats, Floats]:
        """Means of the feasible samples and their standard errors, [R], for angles [R, p]. Raises BackendError."""
        means, errors = np.zeros(len(qubos)), np.zeros(len(qubos))
        for row, qubo in enumerate(qubos):
            p = int(layers[row])
            circuit, values = qaoa_program(
                [qubo], gammas[row : row + 1, :p], betas[row : row + 1, :p], mixer=mixer_of(qubo)
            )
            program = CircuitProgram(circuit, values, int(shots[row]))
            samples = run(self.backend, program, uuid.uuid4().hex, int(rng.integers(2**31)), Event()).samples[0]
            feasible = qubo.feasible(samples)
            samples = samples[feasible] if feasible.any() else samples
            mean, std = standardisation(qubo)
            energies = (qubo.energy(samples) - mean) / std
            means[row], errors[row] = energies.mean(), energies.std() / len(energies) ** 0.5
        return means, errors

    def close(self) -> None:
        """Close the backend."""
        self.backend.close()
