"""A parametrised circuit as a layer of a network.

    layer = CircuitLayer(inputs=6, outputs=6)
    y = layer(x)  # [..., 6] -> [..., 6], in [-1, 1]

Each layer of the circuit encodes the inputs, each with a learned scale, and turns and entangles the qubits by trained
angles. Expectations are read out. There are no linear maps: put `torch.nn.Linear` before and after it.
"""

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from hybrid_opt.circuits.ansatz.ansatz import Ansatz, Entangle
from hybrid_opt.circuits.ansatz.registry import ANSATZE
from hybrid_opt.circuits.encodings.encoding import Encoding
from hybrid_opt.circuits.encodings.registry import ENCODINGS
from hybrid_opt.circuits.reuploading import Reuploading
from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.operators import means
from hybrid_opt.layers.plan import Plan, Readout
from hybrid_opt.layers.slots import SlotGates, plan_of, slots

Gradient = Literal["adjoint", "shift", "surrogate"]


class CircuitLayer(nn.Module):
    """L layers of an encoding and an ansatz on n qubits, [..., inputs] -> [..., outputs].

    Parameters: `scale` [L, inputs] of the inputs ([1, inputs] where the encoding prepares a state, none where it takes
    bits), and `weights`, the trained angles, one after the other. Angles that cannot change the outputs are left out.
    """

    angular = True  # its parameters are angles, which learn at a rate of their own

    def __init__(
        self,
        inputs: int,
        outputs: int | None = None,
        qubits: int = 6,
        layers: int = 4,
        encoding: str = "angle",
        ansatz: str = "strong",
        entangle: Entangle = "ring",
        observables: Readout = "z",
        gradient: Gradient = "adjoint",
        shots: int | None = None,
        backend: Any = "statevector",
        noise: float | None = None,
    ) -> None:
        """Describe the circuit; see `CircuitConfig` for what the options mean.

        Raises ProblemError, one line, for names and values that are not accepted, and for inputs and outputs that do
        not suit the encoding and the observables. outputs=None: as many as there are observables.
        """
        super().__init__()
        _check_count("qubits", qubits, 12)
        _check_count("layers", layers, 32)
        for key, value, accepted in (
            ("entangle", entangle, get_args(Entangle)),
            ("observables", observables, get_args(Readout)),
            ("gradient", gradient, get_args(Gradient)),
        ):
            if value not in accepted:
                raise ProblemError(f"{key}={value}: {', '.join(accepted)} are accepted")
        self.encoding: Encoding = ENCODINGS.find(encoding, "encoding")()
        chosen: Ansatz = ANSATZE.find(ansatz, "ansatz")()
        self.qubits, self.layers, self.gradient = qubits, layers, gradient
        self.structure = Reuploading.of(self.encoding, chosen, qubits, layers, entangle)
        found = slots(self.structure.gates, self.structure.rows)
        self.plan: Plan = plan_of(found, qubits, observables)
        self.slot_gates = SlotGates(found, qubits, self.structure.rows, self.structure.weights)
        suited = self.encoding.inputs(qubits)
        if inputs != suited:
            raise ProblemError(f"inputs={inputs}: encoding={encoding} takes {suited} on {qubits} qubits")
        if outputs is not None and outputs != self.plan.outputs:
            given = f"observables={observables} gives {self.plan.outputs} on {qubits} qubits"
            raise ProblemError(f"outputs={outputs}: {given}; that, or None, is accepted")
        self.inputs, self.outputs = inputs, self.plan.outputs
        self.weights = nn.Parameter(torch.empty(self.structure.weights))
        self.scale = nn.Parameter(torch.empty(self.structure.uploads, inputs)) if self.encoding.scaled else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all angles uniformly from a full turn, with PyTorch's generator; all scales become 1."""
        nn.init.uniform_(self.weights, -math.pi, math.pi)
        if self.scale is not None:
            nn.init.ones_(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return the expectations [..., outputs] at inputs [..., inputs], in the precision of the parameters."""
        rows = self._checked(x)
        with torch.autocast(x.device.type, enabled=False):
            data = self.data_angles(rows)
            gates, phases = self.slot_gates.gates(data, self.weights), self.slot_gates.phases(data, self.weights)
            return means(self.plan, gates, phases).view(*x.shape[:-1], self.outputs)

    def data_angles(self, x: Tensor) -> Tensor:
        """Return the angles of the data [N, R] at inputs [N, inputs]: those of each upload in turn."""
        scaled = x[:, None] if self.scale is None else x[:, None] * self.scale
        return self.encoding.angles(scaled).flatten(1)

    def angles(self, x: Tensor) -> Tensor:
        """Return the values of the parameters of `circuit()`, [N, parameters], at inputs [N, inputs]."""
        data = self.data_angles(self._checked(x))
        return torch.cat([data, self.weights.expand(len(data), -1)], 1)[:, self.structure.angles]

    def circuit(self, x: Tensor | None = None) -> Any:
        """Return the qiskit QuantumCircuit at inputs [inputs], the truth that this layer is tested against.

        None: with parameters, whose values for a batch are `angles(x)`.
        """
        circuit = self.structure.circuit
        if x is None:
            return circuit.copy()
        if x.dim() != 1:
            raise ProblemError(f"inputs: shape {tuple(x.shape)}; a circuit takes one row, [{self.inputs}]")
        return circuit.assign_parameters(self.angles(x[None])[0].detach().double().cpu().numpy())

    def extra_repr(self) -> str:
        return f"{self.inputs}, {self.outputs}, qubits={self.qubits}, layers={self.layers}, gradient={self.gradient}"

    def _checked(self, x: Tensor) -> Tensor:
        """The inputs as rows [N, inputs], in the precision of the parameters."""
        if not x.dim() or x.shape[-1] != self.inputs:
            raise ProblemError(f"inputs: shape {tuple(x.shape)}; [..., {self.inputs}] is accepted")
        if not x.is_meta:
            self.encoding.check(x)
        return x.reshape(-1, self.inputs).to(self.weights.dtype)


def _check_count(key: str, value: Any, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ProblemError(f"{key}={value}: an integer from 1 to {most} is accepted")
