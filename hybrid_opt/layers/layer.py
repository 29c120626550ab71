"""A parametrised circuit as a layer of a network.

    layer = CircuitLayer(inputs=6, outputs=6)
    y = layer(x)  # [..., 6] -> [..., 6], in [-1, 1]

Each layer of the circuit encodes the inputs, each with a learned scale, and turns and entangles the qubits by trained
angles. Expectations are read out. There are no linear maps: put `torch.nn.Linear` before and after it.

A layer with a `backend` asks it in every forward pass, with one job for the batch. An agent that shall act through a
processor but train in simulation has layers with `backend="statevector"`. It acts within

    with acting(policy, backend, shots=1024):  # all circuit layers of the module
        action = policy(x)
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from hybrid_opt.backends.noise import Noise, noise_of
from hybrid_opt.circuits.ansatz.ansatz import Ansatz, Entangle
from hybrid_opt.circuits.ansatz.registry import ANSATZE
from hybrid_opt.circuits.encodings.encoding import Encoding
from hybrid_opt.circuits.encodings.registry import ENCODINGS
from hybrid_opt.circuits.reuploading import Reuploading
from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.constants import beside
from hybrid_opt.layers.engine import means, turned_means
from hybrid_opt.layers.gradients.shift import shifted
from hybrid_opt.layers.gradients.surrogate import surrogated
from hybrid_opt.layers.paulis import Paulis, with_errors
from hybrid_opt.layers.plan import Plan, Readout
from hybrid_opt.layers.processor import Processor
from hybrid_opt.layers.sampling import counts, misread
from hybrid_opt.layers.slots import SlotGates, plan_of, slots

Gradient = Literal["adjoint", "shift", "surrogate"]
AMPLITUDES = 1 << 20  # of all states that are simulated at once without gradients


class CircuitLayer(nn.Module):
    """L layers of an encoding and an ansatz on n qubits, [..., inputs] -> [..., outputs].

    Parameters: `scale` [L, inputs] of the inputs ([1, inputs] where the encoding prepares a state, none where it takes
    bits), and `weights`, the trained angles, one after the other. Angles that cannot change the outputs are left out.
    """

    angular = True  # its parameters are angles, which learn at a rate of their own
    data_places: Tensor | None
    origin: Tensor | None
    trained_places: Tensor | None

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
        noise: float | Mapping[str, Any] | str | Noise | None = None,
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
        if shots is not None:
            _check_count("shots", shots)
        if isinstance(noise, int | float) and not 0 <= noise <= 0.75:
            raise ProblemError(f"noise={noise}: None, or a chance from 0 to 0.75, is accepted")
        model = noise_of(noise)
        simulated = isinstance(backend, str) and backend == "statevector"
        if model is not None and not simulated and gradient != "adjoint":
            where = "backend=statevector or gradient=adjoint"
            label = noise if isinstance(noise, int | float) else model.name
            raise ProblemError(f"noise={label}: has an effect with {where} only; a backend brings its own noise")
        self.encoding: Encoding = ENCODINGS.find(encoding, "encoding")()
        suited = self.encoding.inputs(qubits)
        if inputs != suited:
            raise ProblemError(f"inputs={inputs}: encoding={encoding} takes {suited} on {qubits} qubits")
        chosen: Ansatz = ANSATZE.find(ansatz, "ansatz")()
        self.qubits, self.layers, self.gradient, self.shots, self.noise = qubits, layers, gradient, shots, model
        self.structure = Reuploading.of(self.encoding, chosen, qubits, layers, entangle)
        self.generator: torch.Generator | None = None
        self.processor = None if simulated else Processor(backend)
        with torch.device("cpu"):  # where its numbers can be read, whatever the default is
            self._compile(observables)
        if outputs is not None and outputs != self.plan.outputs:
            given = f"observables={observables} gives {self.plan.outputs} on {qubits} qubits"
            raise ProblemError(f"outputs={outputs}: {given}; that, or None, is accepted")
        self.inputs, self.outputs = inputs, self.plan.outputs
        self.weights = nn.Parameter(torch.empty(self.structure.weights))
        self.scale = nn.Parameter(torch.empty(self.structure.uploads, inputs)) if self.encoding.scaled else None
        self.to(self.weights.device)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all angles uniformly from a full turn, with PyTorch's generator; all scales become 1."""
        nn.init.uniform_(self.weights, -math.pi, math.pi)
        if self.scale is not None:
            nn.init.ones_(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return the expectations [..., outputs] at inputs [..., inputs], in the precision of the parameters."""
        rows = self._rows(x)
        with torch.autocast("cuda" if rows.is_cuda else "cpu", enabled=False):
            if self._plain:
                outputs = self._at_inputs(rows)
            else:
                run = self._exact if self.gradient == "adjoint" else self._shifted
                outputs = run(self._scaled(rows), self._trained())
        return outputs.view(*x.shape[:-1], self.outputs)

    def angles(self, x: Tensor) -> Tensor:
        """Return the values of the parameters of `circuit()`, [N, parameters], at inputs [N, inputs]."""
        return _joined(self._data(self._scaled(self._rows(x))), self._trained())

    def circuit(self, x: Tensor | None = None) -> Any:
        """Return the qiskit QuantumCircuit at inputs [inputs], the truth that this layer is tested against.

        None: with parameters, whose values for a batch are `angles(x)`.
        """
        circuit = self.structure.circuit
        if x is None:
            return circuit.copy()
        if x.dim() != 1:
            raise ProblemError(f"inputs: shape {list(x.shape)}; a circuit takes one row, [{self.inputs}]")
        return circuit.assign_parameters(self.angles(x[None])[0].detach().double().cpu().numpy())

    def close(self) -> None:
        """Close the backend that was opened for this layer."""
        if self.processor is not None:
            self.processor.close()

    def _compile(self, observables: Readout) -> None:
        """Make a plan of the circuit. A state that is prepared by gates only where these are asked for starts it."""
        structure = self.structure
        gates, data = structure.gates, len(structure.data)
        self.register_buffer("data_places", _places(structure.data, structure.places), persistent=False)
        self.register_buffer("trained_places", _places(structure.trained, structure.weights), persistent=False)
        prepared = type(self.encoding).start is not Encoding.start
        self._starts = prepared and self.gradient == "adjoint" and self.noise is None
        if self._starts:
            gates = tuple(gate.moved(-data) for gate in gates[structure.prepared :])
            data = 0
        found = slots(gates, data)
        self.plan: Plan = plan_of(found, self.qubits, observables)
        self._laws = replace(self.plan, readout="probabilities")
        self.slot_gates = SlotGates(found, self.qubits, data, len(structure.trained))
        noise = self.noise
        faulty = noise is not None and any(noise.paulis(qubits)[0] < 1.0 for qubits in (1, 2))
        self.paulis = Paulis(found, self.qubits, noise) if noise is not None and faulty else None
        self.flips = (0.0, 0.0) if noise is None else noise.flips
        own, inputs = type(self.encoding).angles is not Encoding.angles, self.encoding.inputs(self.qubits)
        multiples = self.encoding.scaled and not (own or self._starts or self.plan.phased)
        multiples = multiples and structure.places == structure.uploads * inputs
        origin = torch.tensor(structure.data, dtype=torch.int32) % inputs if multiples else None
        self.register_buffer("origin", origin, persistent=False)

    @property
    def _plain(self) -> bool:
        """Whether angles are multiples of the inputs, and nothing but a simulation is asked for."""
        simulated = self.processor is None and self.shots is None and self.noise is None
        return self.origin is not None and self.gradient == "adjoint" and simulated

    def _at_inputs(self, rows: Tensor) -> Tensor:
        """Outputs of the simulation, which scales the inputs itself: PyTorch's operators take as long as the rest."""
        assert self.scale is not None
        scale = self.scale.flatten()
        scale = scale if self.data_places is None else scale.index_select(0, self.data_places)
        return turned_means(self.plan, self.slot_gates, rows, self._trained(), scale=scale, origin=self.origin)

    def _rows(self, x: Tensor) -> Tensor:
        """The inputs as rows [N, inputs], in the precision of the parameters. Raises ProblemError."""
        if not x.dim() or x.shape[-1] != self.inputs:
            raise ProblemError(f"inputs: shape {list(x.shape)}; [..., {self.inputs}] is accepted")
        if not (x.is_meta or (x.is_cuda and torch.cuda.is_current_stream_capturing())):  # it would wait for numbers
            self.encoding.check(x)
        return x.reshape(-1, self.inputs).to(self.weights.dtype)

    def _scaled(self, rows: Tensor) -> Tensor:
        """The inputs of each upload, [N, uploads, inputs]."""
        return rows[:, None] if self.scale is None else rows[:, None] * self.scale

    def _data(self, scaled: Tensor) -> Tensor:
        """The angles of the data, [N, R]."""
        angles = self.encoding.angles(scaled).flatten(1)
        return angles if self.data_places is None else angles.index_select(1, self.data_places)

    def _trained(self) -> Tensor:
        """The trained angles, [W]."""
        return self.weights if self.trained_places is None else self.weights[self.trained_places]

    def _exact(self, scaled: Tensor, trained: Tensor) -> Tensor:
        """Outputs with gradients of the simulation, whatever gives their values."""
        if self.processor is None:
            return self._from_start(scaled, trained)
        with torch.no_grad():
            values = self._asked(_joined(self._data(scaled), trained))
        differentiated = torch.is_grad_enabled() and (scaled.requires_grad or trained.requires_grad)
        return _valued(values, self._from_start(scaled, trained)) if differentiated else values

    def _from_start(self, scaled: Tensor, trained: Tensor) -> Tensor:
        """Outputs of the simulation, which begins with the state of the encoding where it gives one."""
        if not self._starts:
            return self._simulated(self._data(scaled), trained)
        return self._simulated(scaled.new_empty(len(scaled), 0), trained, self.encoding.start(scaled[:, 0]))

    def _shifted(self, scaled: Tensor, trained: Tensor) -> Tensor:
        """Outputs with gradients by further circuits."""
        data = self._data(scaled)
        angles = _joined(data, trained)
        evaluate = self._simulated_in_parts if self.processor is None else self._asked
        if not (torch.is_grad_enabled() and angles.requires_grad):
            return evaluate(angles)
        first = 0 if data.requires_grad else data.shape[1]
        last = angles.shape[1] if trained.requires_grad else data.shape[1]
        wanted = torch.arange(first, last, device=angles.device)
        if self.gradient == "shift":
            return shifted(angles, wanted, evaluate)
        return surrogated(angles, wanted, data.shape[1], evaluate, self.generator)

    def _simulated(self, data: Tensor, trained: Tensor, start: Tensor | None = None) -> Tensor:
        """Outputs of the simulation, with its noise and its shots."""
        if self.shots is None and not any(self.flips):
            return self._means(self.plan, data, trained, start)
        laws = self._means(self._laws, data, trained, start)
        laws = misread(laws, *self.flips) if any(self.flips) else laws
        parity = beside(self.plan.parity, laws)
        if self.shots is None:
            return laws @ parity
        return _valued(counts(laws.detach(), self.shots, self.generator) @ parity / self.shots, laws @ parity)

    def _means(self, plan: Plan, data: Tensor, trained: Tensor, start: Tensor | None) -> Tensor:
        """What a plan reads out, each row with errors of its own."""
        if self.paulis is None:
            return turned_means(plan, self.slot_gates, data, trained, self.slot_gates.phases(data, trained), start)
        before, after, signs = self.paulis(len(data), self.generator)
        gates = with_errors(self.slot_gates.gates(data, trained), before, after)
        return means(plan, gates, self.slot_gates.phases(data, trained, signs), start)

    @torch.no_grad()
    def _simulated_in_parts(self, angles: Tensor) -> Tensor:
        """Outputs of the simulation at all angles [M, R + W], as many rows at a time as cache holds."""
        rows, data = max(1, AMPLITUDES >> self.qubits), len(self.structure.data)
        return torch.cat([self._simulated(part[:, :data], part[:, data:]) for part in angles.split(rows)])

    def _asked(self, angles: Tensor) -> Tensor:
        """Outputs of the processor at all angles [M, R + W], as one job."""
        assert self.processor is not None
        seed = int(torch.randint(2**31 - 1, (), generator=self.generator, device=_device(self.generator)))
        values = angles.detach().double().cpu().numpy()
        outputs = self.processor.outputs(self.structure.circuit, self.plan, values, self.shots, seed)
        return torch.from_numpy(outputs).to(angles)

    def extra_repr(self) -> str:
        return f"{self.inputs}, {self.outputs}, qubits={self.qubits}, layers={self.layers}, gradient={self.gradient}"


@contextmanager
def acting(module: nn.Module, backend: Any, shots: int | None = None, noise: Noise | None = None) -> Iterator[None]:
    """Let all circuit layers of a module ask a backend, each with one job for a batch.

    backend: a name, or an open Backend, which stays open (with ledger, budget and fallback, as `open_backend` gives
    it). shots: of each circuit; None: exact. noise: of a backend that takes it. Afterwards the layers are what they
    were. What the backend raises passes.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, CircuitLayer)]
    before = [(layer.processor, layer.shots) for layer in layers]
    processor = Processor(backend, noise)
    try:
        for layer in layers:
            layer.processor, layer.shots = processor, shots
        yield
    finally:
        for layer, (own, own_shots) in zip(layers, before, strict=True):
            layer.processor, layer.shots = own, own_shots
        processor.close()


def _valued(values: Tensor, outputs: Tensor) -> Tensor:
    """Outputs with other values and their own gradients."""
    return outputs + (values - outputs).detach() if outputs.requires_grad else values


def _joined(data: Tensor, trained: Tensor) -> Tensor:
    """All angles, [N, R + W]."""
    return torch.cat([data, trained.expand(len(data), -1)], 1)


def _places(places: Sequence[int], count: int) -> Tensor | None:
    """An index of `count` numbers, or None for one that changes nothing."""
    return None if list(places) == list(range(count)) else torch.tensor(places)


def _device(generator: torch.Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device


def _check_count(key: str, value: Any, most: int | None = None) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < 1 or (most is not None and value > most):
        accepted = "an integer of at least 1, or None," if most is None else f"an integer from 1 to {most}"
        raise ProblemError(f"{key}={value}: {accepted} is accepted")
