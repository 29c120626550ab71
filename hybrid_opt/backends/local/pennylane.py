"""Any PennyLane device, lightning.qubit among them."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import field
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import Bits, Capabilities, CircuitProgram
from hybrid_opt.backends.local.circuit_backend import CircuitBackend, memory_qubits, need_bytes
from hybrid_opt.backends.local.compiled import CircuitConfig
from hybrid_opt.backends.local.gates import Gate, elementary
from hybrid_opt.backends.programs import check_seed, spawn
from hybrid_opt.errors import Cancelled, ProblemError
from hybrid_opt.parts import nearest

Floats = NDArray[np.float64]
LOCAL = ("default.", "lightning.", "reference.", "null.")
BYTES = 40  # for each amplitude: the state and its probabilities
NAMED = {"h": "Hadamard", "x": "PauliX", "y": "PauliY", "z": "PauliZ", "s": "S", "t": "T", "sx": "SX"}
TURNS = {"rx": "RX", "ry": "RY", "rz": "RZ", "p": "PhaseShift", "rzz": "IsingZZ", "u": "U3"}


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class PennyLaneConfig(CircuitConfig):
    """options: of the device, beside its wires and its seed."""

    options: Mapping[str, Any] = field(default_factory=dict)


class PennyLane(CircuitBackend):
    """A PennyLane device by name. All parameter sets of a call are one batch of tapes.

    Bit i is wire i. Simulators that take a seed are opened anew for every program; other devices once for each size.
    """

    Config, devices = PennyLaneConfig, "one"

    def __init__(self, device: str, config: Any = None, name: str | None = None) -> None:
        super().__init__(name or f"pennylane:{device}", config)
        self._device, self._open = device, dict[int, Any]()
        try:
            import pennylane
        except ImportError as error:
            raise ProblemError(f"backend={self.name}: needs PennyLane; pip install pennylane") from error
        if device not in pennylane.plugin_devices:
            raise ProblemError(f"backend={self.name}: no such device{nearest(device, pennylane.plugin_devices)}")

    @property
    def capabilities(self) -> Capabilities:
        local = self._device.startswith(LOCAL)
        return Capabilities(circuits=True, exact=local, observables=True, remote=not local)

    def close(self) -> None:
        super().close()
        self._open.clear()

    def _qubits(self) -> int | None:
        return memory_qubits(BYTES) if self._device.startswith(LOCAL) else None

    def _check_size(self, n: int, program: CircuitProgram) -> None:
        if self._device.startswith(LOCAL):
            need_bytes(BYTES << n, f"{n} qubits")

    def _compile(self, circuit: Any, program: CircuitProgram) -> tuple[int, int, list[Gate]]:
        return circuit.num_qubits, circuit.depth(), elementary(circuit)

    def _depth(self, compiled: tuple[int, int, list[Gate]]) -> int:
        return compiled[1]

    def _probabilities(
        self, compiled: tuple[int, int, list[Gate]], program: CircuitProgram, stop: Event
    ) -> Sequence[Floats]:
        import pennylane

        wires = range(compiled[0])
        laws = self._execute(compiled, program, pennylane.probs(wires=wires[::-1]), 0, stop)
        return [np.asarray(law, np.float64).reshape(1 << compiled[0]) for law in laws]

    def _samples(
        self, compiled: tuple[int, int, list[Gate]], program: CircuitProgram, seed: int, stop: Event
    ) -> Sequence[Bits]:
        import pennylane

        samples = self._execute(compiled, program, pennylane.sample(wires=range(compiled[0])), seed, stop)
        return [np.asarray(bits).reshape(-1, compiled[0]).astype(np.uint8) for bits in samples]

    def _execute(
        self, compiled: tuple[int, int, list[Gate]], program: CircuitProgram, measurement: Any, seed: int, stop: Event
    ) -> Sequence[Any]:
        import pennylane

        n, _, gates = compiled
        parameters = np.asarray(program.parameters, np.float64)
        angles = [[angle(parameters) for angle in gate.angles] for gate in gates]
        tapes = [
            pennylane.tape.QuantumScript(
                [_operation(gate, [values[row] for values in turn]) for gate, turn in zip(gates, angles, strict=True)],
                [measurement],
                shots=program.shots,
            )
            for row in range(len(parameters))
        ]
        if stop.is_set():
            raise Cancelled("cancelled before it was executed")
        results: Sequence[Any] = pennylane.execute(tapes, self._opened(n, seed), diff_method=None)
        return results

    def _opened(self, n: int, seed: int) -> Any:
        import pennylane

        check_seed(seed)
        if n in self._open:
            return self._open[n]
        with self.calling("opening"):
            device = pennylane.device(self._device, wires=n, **self.config.options)
            if "seed" in inspect.signature(type(device).__init__).parameters and "seed" not in self.config.options:
                return pennylane.device(self._device, wires=n, seed=spawn(seed, 0), **self.config.options)
        self._open[n] = device
        return device


def _operation(gate: Gate, angles: list[float]) -> Any:
    """The PennyLane operation of a gate."""
    import pennylane

    wires = list(gate.qubits)
    if gate.array is None:
        made = getattr(pennylane, TURNS[gate.name])(*angles, wires=wires)
    elif gate.name in NAMED:
        made = getattr(pennylane, NAMED[gate.name])(wires=wires)
    elif gate.array.ndim == 1:
        made = pennylane.DiagonalQubitUnitary(gate.array, wires=wires[::-1])  # wires of PennyLane: highest bit first
    else:
        made = pennylane.QubitUnitary(gate.array, wires=wires[::-1])
    if not gate.controls:
        return made
    controls, bits = zip(*gate.controls, strict=True)
    return pennylane.ctrl(made, control=list(controls), control_values=[bool(bit) for bit in bits])
