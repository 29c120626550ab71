"""The noise of a fake IBM device, the same on all qubits."""

from functools import cached_property
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.noise.noise import Floats, Noise
from hybrid_opt.backends.qiskit.fake_ibm import fake_device
from hybrid_opt.errors import ProblemError


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class DeviceConfig:
    """Errors as large as those of a fake IBM device: medians over its gates and qubits."""

    device: str = "fake_torino"
    """its name"""
    p: Annotated[float, Field(ge=0, le=0.75)] | None = None
    """chance of an error after each two-qubit gate, with which all others grow and shrink; null: that of the device"""


class Device(Noise):
    """Depolarising gates and readout errors, at the medians of the device's calibration.

    A gate of d dimensions with average infidelity r has a Pauli error with chance r (d + 1) / d. Couplings are those
    of the circuit: `backend=ibm:fake_NAME` and `backend=aer?noise=fake_NAME` know each qubit.
    """

    name, Config, mixture = "device", DeviceConfig, True

    @cached_property
    def errors(self) -> tuple[float, float, float]:
        """Chances of an error after gates on one and on two qubits, and to misread a bit."""
        try:
            device = fake_device(self.config.device)
        except ProblemError as error:
            name = self.config.device
            raise ProblemError(str(error).replace(f"backend=ibm:{name}", f"noise.device={name}")) from error
        single, double = (_median(device, qubits) * (2**qubits + 1) / 2**qubits for qubits in (1, 2))
        misread = float(np.median([about.error for about in device.target["measure"].values()]))
        found = np.array([single, double, misread])
        if self.config.p is not None:
            found *= self.config.p / double
        single, double, misread = np.minimum(found, [0.75, 15 / 16, 0.5]).tolist()
        return single, double, misread

    def paulis(self, qubits: int) -> Floats:
        p = self.errors[qubits - 1]
        chances = np.full(4**qubits, p / (4**qubits - 1))
        chances[0] = 1 - p
        return chances

    @property
    def flips(self) -> tuple[float, float]:
        return self.errors[2], self.errors[2]


def _median(device: Any, qubits: int) -> float:
    """The median error of the gates on so many qubits, without virtual ones."""
    target = device.target
    errors = [
        about.error
        for name in target.operation_names
        for places, about in target[name].items()
        if name not in ("measure", "reset", "delay", "id")
        and places
        and len(places) == qubits
        and about
        and about.error
    ]
    return float(np.median(errors))
