"""Inputs as states of an encoding."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hybrid_opt.circuits.encodings.encoding import Encoding
from hybrid_opt.circuits.encodings.registry import ENCODINGS
from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.operators import evolved
from hybrid_opt.layers.slots import SlotGates, plan_of, slots
from hybrid_opt.overlaps.overlap import Floats

WIDEST = 12  # qubits
ROWS = 1 << 18  # amplitudes that are computed at once


@dataclass(frozen=True)
class Encoded:
    """An encoding for inputs of one width."""

    encoding: Encoding
    qubits: int

    @classmethod
    def of(cls, name: str, width: int) -> "Encoded":
        """Return the encoding on as many qubits as inputs of a width need. Raises ProblemError."""
        encoding: Encoding = ENCODINGS.find(name, "overlap.encoding")()
        widths = {encoding.inputs(qubits): qubits for qubits in range(1, WIDEST + 1)}
        if width not in widths:
            accepted = ", ".join(map(str, sorted(widths)[:6]))
            raise ProblemError(f"x: rows of {width}; encoding={name} takes {accepted}, ... inputs")
        return cls(encoding, widths[width])

    @property
    def circuit(self) -> Any:
        """The qiskit circuit, whose parameters are `angles`."""
        return self.encoding.circuit(self.qubits)

    def angles(self, rows: Floats) -> Floats:
        """The values of the circuit's parameters, [N, A]."""
        given = torch.from_numpy(rows)
        self.encoding.check(given)
        found: Floats = self.encoding.angles(given).numpy()
        return found[:, : self.circuit.num_parameters]

    @torch.no_grad()
    def states(self, rows: Floats) -> NDArray[np.complex128]:
        """The states, [N, 2^n]."""
        gates, angles = self.encoding.gates(self.qubits), torch.from_numpy(self.angles(rows))
        found = slots(gates, angles.shape[1])
        plan, made = plan_of(found, self.qubits, "z"), SlotGates(found, self.qubits, angles.shape[1], 0)
        none = angles.new_empty(0)

        def run(part: Tensor) -> Tensor:
            return evolved(plan, made.gates(part, none), made.phases(part, none))

        states: NDArray[np.complex128] = torch.cat([run(p) for p in angles.split(ROWS >> self.qubits)]).numpy()
        return states
