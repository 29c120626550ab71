"""Any Qiskit BackendV2 object, of whatever provider."""

from collections.abc import Sequence
from dataclasses import replace
from threading import Event
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import Bits, Capabilities, CircuitProgram, Limits, Program
from hybrid_opt.backends.local.circuit_backend import CircuitBackend
from hybrid_opt.backends.local.compiled import CircuitConfig
from hybrid_opt.backends.programs import check_seed, spawn
from hybrid_opt.backends.qiskit.native import native
from hybrid_opt.backends.qiskit.primitives import chosen, depth, measured
from hybrid_opt.errors import CorruptResult


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class ProviderConfig(CircuitConfig):
    """optimization_level: of qiskit's transpiler."""

    optimization_level: Literal[0, 1, 2, 3] = 2


class Provider(CircuitBackend):
    """Runs circuits with `run` of a BackendV2: compiled once, all parameter sets in as few jobs as the device takes.

    A device that keeps no memory of the single shots gives counts; its samples come in the order of the states then.
    """

    Config = ProviderConfig

    def __init__(self, device: Any, config: Any = None) -> None:
        super().__init__(str(device.name), config)
        self._device = device

    @property
    def capabilities(self) -> Capabilities:
        module = type(self._device).__module__
        local = module.startswith(("qiskit_aer.", "qiskit.providers."))
        return Capabilities(circuits=True, observables=True, remote=not local)

    @property
    def limits(self) -> Limits:
        return Limits(qubits=self._qubits(), depth=self.config.max_depth)

    def _qubits(self) -> int | None:
        return self._device.num_qubits if self._device.num_qubits is None else int(self._device.num_qubits)

    def _compile(self, circuit: Any, program: CircuitProgram) -> tuple[Any, Any]:
        return circuit, compiled_for(self._device, measured(circuit), self.config.optimization_level, program.layout)

    def transpiled(self, program: Program) -> Any:
        """The circuit as it runs, with its measurements."""
        return self._prepare(program)[0][1][1]

    def native(self, program: CircuitProgram) -> CircuitProgram:
        """Return a program in the device's gates, on the qubits that it uses there."""
        return native(program, self.transpiled(replace(program, observables=())))

    def _depth(self, compiled: tuple[Any, Any]) -> int:
        return depth(compiled[1])

    def _samples(self, compiled: tuple[Any, Any], program: CircuitProgram, seed: int, stop: Event) -> Sequence[Bits]:
        check_seed(seed)
        circuit, whole = compiled
        options: dict[str, Any] = {"shots": program.shots}
        if hasattr(self._device.options, "memory"):
            options["memory"] = True
        bound = [whole.assign_parameters(values) for values in chosen(whole, circuit.parameters, program.parameters)]
        at_once, samples = self._device.max_circuits or len(bound), list[Bits]()
        for begin in range(0, len(bound), at_once):
            if hasattr(self._device.options, "seed_simulator"):
                options["seed_simulator"] = spawn(seed, begin)
            part = bound[begin : begin + at_once]
            result = self._device.run(part, **options).result()
            for index in range(len(part)):
                samples.append(_bits(result, index, circuit.num_qubits, program.shots or 0))
        return samples


def compiled_for(device: Any, circuit: Any, level: int, layout: tuple[int, ...] | None = None) -> Any:
    """The circuit in the gates and on the qubits of a device. The same circuit compiles to the same.

    layout: see CircuitProgram. Without optimisation only gates that the device does not have are rewritten.
    """
    from qiskit.transpiler import generate_preset_pass_manager

    options: dict[str, Any] = {"optimization_level": level}
    if layout is not None:
        options = {"optimization_level": 0}
        if _fits(device, circuit, layout):
            options["initial_layout"] = list(layout)
    return generate_preset_pass_manager(backend=device, seed_transpiler=0, **options).run(circuit)


def _fits(device: Any, circuit: Any, layout: tuple[int, ...]) -> bool:
    """Whether a device has these qubits, and the circuit's two-qubit gates on them."""
    pairs = {
        (item.operation.name, tuple(layout[circuit.find_bit(qubit).index] for qubit in item.qubits))
        for item in circuit.data
        if len(item.qubits) == 2
    }
    return max(layout) < device.num_qubits and all(device.target.instruction_supported(*pair) for pair in pairs)


def _bits(result: Any, index: int, n: int, shots: int) -> Bits:
    """Samples uint8 [S, n] of one circuit of a qiskit Result."""
    memory = getattr(result.results[index].data, "memory", None)
    if memory:
        states = [int(state, 16) if state.startswith("0x") else int(state.replace(" ", ""), 2) for state in memory]
    else:
        counts = result.get_counts(index)
        states = [int(state.replace(" ", ""), 2) for state, count in sorted(counts.items()) for _ in range(count)]
    if len(states) != shots or max(states, default=0) >> n:
        raise CorruptResult(f"{len(states)} samples of {n} bits were to be {shots}")
    packed = np.frombuffer(b"".join(state.to_bytes((n + 7) // 8, "little") for state in states), np.uint8)
    return np.unpackbits(packed.reshape(shots, -1), axis=1, bitorder="little")[:, :n]
