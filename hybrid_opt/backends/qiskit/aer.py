"""qiskit-aer, through the runtime's primitives in local mode; exact mode through Aer itself."""

from collections.abc import Sequence
from dataclasses import replace
from threading import Event
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import Bits, Capabilities, CircuitProgram, Program
from hybrid_opt.backends.local.circuit_backend import CircuitBackend, memory_qubits, need_bytes
from hybrid_opt.backends.local.compiled import CircuitConfig
from hybrid_opt.backends.qiskit.native import native
from hybrid_opt.backends.qiskit.primitives import BASIS, chosen, depth, measured, runs_marked, sampled
from hybrid_opt.errors import BackendError, ProblemError

Floats = NDArray[np.float64]
BYTES = 40  # for each amplitude: the state and its probabilities


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class AerConfig(CircuitConfig):
    """noise: name of a fake IBM device whose noise every circuit gets; a program's own noise comes before it."""

    noise: str | None = None
    optimization_level: Literal[0, 1, 2, 3] = 1


class Aer(CircuitBackend):
    """AerSimulator, with a noise model on request. Exact mode under noise simulates the density matrix."""

    Config, devices = AerConfig, "none"

    def __init__(self, config: Any = None) -> None:
        super().__init__("aer", config)
        try:
            import qiskit_aer  # noqa: F401
            import qiskit_ibm_runtime  # noqa: F401
        except ImportError as error:
            extra = "pip install qiskit-aer qiskit-ibm-runtime"
            raise ProblemError(f"backend=aer: needs {error.name}; {extra}") from error
        self._noise = None
        if self.config.noise is not None:
            from qiskit_aer.noise import NoiseModel

            from hybrid_opt.backends.qiskit.fake_ibm import fake_device

            self._noise = NoiseModel.from_backend(fake_device(self.config.noise))

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(circuits=True, exact=True, observables=True, noise=True)

    def _qubits(self) -> int:
        return memory_qubits(BYTES)

    def _check_size(self, n: int, program: CircuitProgram) -> None:
        noisy = self._model(program) is not None and program.shots is None
        need_bytes(BYTES << (2 * n if noisy else n), f"{n} qubits{' as a density matrix' if noisy else ''}")

    def _model(self, program: CircuitProgram) -> Any:
        return self._noise if program.noise is None else program.noise

    def _simulator(self, program: CircuitProgram, **options: Any) -> Any:
        from qiskit_aer import AerSimulator

        noise = self._model(program)
        return AerSimulator(**options) if noise is None else AerSimulator(noise_model=noise, **options)

    def _compile(self, circuit: Any, program: CircuitProgram) -> tuple[Any, Any]:
        from qiskit import transpile

        if program.shots is None:
            whole = circuit.copy()
            whole.save_probabilities()
        else:
            whole = measured(circuit)
        level, noise = self.config.optimization_level if program.layout is None else 0, program.noise
        compiled = transpile(whole, self._simulator(program), optimization_level=level, seed_transpiler=0)
        ours = noise is not None and sorted(noise.basis_gates) == sorted(BASIS)
        return circuit, runs_marked(compiled) if ours else compiled

    def transpiled(self, program: Program) -> Any:
        """The circuit as it runs, with its measurements."""
        return self._prepare(program)[0][1][1]

    def native(self, program: CircuitProgram) -> CircuitProgram:
        """Return a program in the simulator's gates."""
        whole = self.transpiled(replace(program, observables=(), shots=program.shots or 1))
        return native(program, whole, tuple(range(whole.num_qubits)))

    def _depth(self, compiled: tuple[Any, Any]) -> int:
        return depth(compiled[1])

    def _probabilities(self, compiled: tuple[Any, Any], program: CircuitProgram, stop: Event) -> Sequence[Floats]:
        circuit, whole = compiled
        method = "statevector" if self._model(program) is None else "density_matrix"
        values = chosen(whole, circuit.parameters, program.parameters)
        # bound here: Aer's own parameter_binds leave controlled gates (crz, cp, mcp, ...) at wrong angles
        bound = [whole.assign_parameters(row) for row in values] if whole.num_parameters else [whole]
        result = self._simulator(program, method=method).run(bound).result()
        if not result.success:
            raise BackendError(f"backend=aer: {result.status}")
        laws = [np.asarray(result.data(row)["probabilities"], np.float64) for row in range(len(bound))]
        return laws if whole.num_parameters else laws * len(values)

    def _samples(self, compiled: tuple[Any, Any], program: CircuitProgram, seed: int, stop: Event) -> Sequence[Bits]:
        circuit, whole = compiled
        return sampled(self._simulator(program), whole, circuit, program, seed)
