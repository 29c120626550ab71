"""The fake devices of qiskit-ibm-runtime: an IBM device's gates, couplings and noise, on this machine."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from threading import Event
from typing import Any, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import Bits, Capabilities, CircuitProgram, Program
from hybrid_opt.backends.local.circuit_backend import CircuitBackend
from hybrid_opt.backends.local.compiled import CircuitConfig
from hybrid_opt.backends.qiskit.native import native, restricted
from hybrid_opt.backends.qiskit.primitives import depth, measured, sampled
from hybrid_opt.backends.qiskit.provider import compiled_for
from hybrid_opt.errors import ProblemError
from hybrid_opt.parts import nearest


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class FakeIbmConfig(CircuitConfig):
    """optimization_level: of qiskit's transpiler."""

    optimization_level: Literal[0, 1, 2, 3] = 2


class FakeIbm(CircuitBackend):
    """`ibm:fake_NAME`: circuits are compiled for the whole device, and simulated on the used qubits with their noise.

    Noise of a large device is slow to build and to simulate; qubits that no gate touches change nothing.
    """

    Config = FakeIbmConfig

    def __init__(self, device: str | Any, config: Any = None) -> None:
        self.name = f"ibm:{device}" if isinstance(device, str) else "ibm:fake"
        self._device = fake_device(device) if isinstance(device, str) else device
        super().__init__(f"ibm:{self._device.name}", config)
        self._simulators: dict[tuple[int, ...], Any] = {}

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(circuits=True, observables=True)

    def _qubits(self) -> int:
        return int(self._device.num_qubits)

    def _compile(self, circuit: Any, program: CircuitProgram) -> tuple[Any, ...]:
        whole = compiled_for(self._device, measured(circuit), self.config.optimization_level, program.layout)
        small, used = restricted(whole)
        if used not in self._simulators:  # many circuits of one layout share it
            self._simulators[used] = simulator_of(self._device, used)
        return circuit, small, self._simulators[used], used

    def transpiled(self, program: Program) -> Any:
        """The circuit as it runs, with its measurements."""
        return self._prepare(program)[0][1][1]

    def native(self, program: CircuitProgram) -> CircuitProgram:
        """Return a program in the device's gates, on the qubits that it uses there."""
        _, small, _, used = self._prepare(replace(program, observables=()))[0][1]
        return native(program, small, used)

    def _depth(self, compiled: tuple[Any, ...]) -> int:
        return depth(compiled[1])

    def _samples(self, compiled: tuple[Any, ...], program: CircuitProgram, seed: int, stop: Event) -> Sequence[Bits]:
        circuit, small, simulator, _ = compiled
        return sampled(simulator, small, circuit, program, seed)


def fake_device(name: str) -> Any:
    """A fake device by name. Raises ProblemError."""
    try:
        from qiskit_ibm_runtime.fake_provider import FakeProviderForBackendV2
    except ImportError as error:
        raise ProblemError(f"backend=ibm:{name}: needs qiskit-ibm-runtime; pip install qiskit-ibm-runtime") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some say that their noise is made up
        devices = {device.name: device for device in FakeProviderForBackendV2().backends()}
    if name not in devices:
        raise ProblemError(f"backend=ibm:{name}: no such fake device{nearest(name, devices)}")
    return devices[name]


def simulator_of(device: Any, used: Sequence[int]) -> Any:
    """An AerSimulator with a device's noise on some of its qubits."""
    from qiskit_aer import AerSimulator
    from qiskit_aer.noise import NoiseModel

    part = _part(_target(device.target, {index: i for i, index in enumerate(used)}))
    return AerSimulator(noise_model=NoiseModel.from_backend(part))


def _target(target: Any, place: dict[int, int]) -> Any:
    """The part of a qiskit Target on some qubits, renumbered."""
    from qiskit.transpiler import Target

    properties = target.qubit_properties
    part = Target(
        num_qubits=len(place),
        dt=target.dt,
        qubit_properties=[properties[qubit] for qubit in place] if properties else None,
    )
    for name in target.operation_names:
        kept = {
            tuple(place[qubit] for qubit in qubits): about
            for qubits, about in target[name].items()
            if qubits is not None and all(qubit in place for qubit in qubits)
        }
        if kept:
            part.add_instruction(target.operation_from_name(name), kept, name=name)
    return part


def _part(target: Any) -> Any:
    """A device with this target, of which only the noise is wanted."""
    from qiskit.providers import BackendV2, Options

    base: Any = BackendV2

    class Part(base):  # type: ignore[misc]
        @property
        def target(self) -> Any:
            return target

        @property
        def max_circuits(self) -> int | None:
            return None

        @classmethod
        def _default_options(cls) -> Any:
            return Options()

        def run(self, run_input: Any, **options: Any) -> Any:
            raise TypeError("describes noise; runs nothing")

    return Part(name="part")
