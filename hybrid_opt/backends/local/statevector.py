"""Our own exact state-vector simulation of any parametrised circuit, batched over parameter sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.backends.backend import Bits, CircuitProgram
from hybrid_opt.backends.local.circuit_backend import CircuitBackend, draw, memory_qubits, need_bytes
from hybrid_opt.backends.local.gates import Angle, Gate, elementary
from hybrid_opt.backends.programs import check_seed
from hybrid_opt.errors import Cancelled

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
AMPLITUDES = 1 << 18  # of all states in one pass: they stay in cache
BYTES = 64  # for each amplitude: the state, its phases, a temporary
TABLES = 4  # parameters whose phases are added up when a run of diagonal gates is compiled
BLOCK = 4  # neighbouring qubits whose gates become one matrix


@dataclass(frozen=True)
class Phases:
    """A run of diagonal gates: state k gets the phase constant[k] + sum_j parameter_j table_j[k]; float64 [2^n] each.

    gates: what is added up at every call instead, where the tables would be too many.
    """

    constant: Floats | None
    tables: dict[int, Floats]
    gates: tuple[Gate, ...]


@dataclass(frozen=True)
class Layer:
    """A run of gates on one qubit each: qubit -> its gates in order."""

    gates: dict[int, list[Gate]]


@dataclass(frozen=True)
class Compiled:
    """A circuit of n qubits as what is done to the state, one step after the other."""

    n: int
    depth: int
    steps: tuple[Gate | Phases | Layer, ...]


class Statevector(CircuitBackend):
    """Exact simulation in complex128; samples are drawn with the seed by inverse sampling.

    Runs of diagonal gates are fused into one phase for each state, and runs of gates on single qubits into matrices on
    four qubits: a layer of QAOA is n / 4 + 1 passes over the state.
    """

    devices = "none"

    def __init__(self, config: Any = None, name: str = "statevector") -> None:
        super().__init__(name, config)

    def _qubits(self) -> int:
        return memory_qubits(BYTES)

    def _check_size(self, n: int, program: CircuitProgram) -> None:
        exact = 8 * len(program.parameters) if program.shots is None and not program.observables else 0
        need_bytes((BYTES + exact) << n, f"{n} qubits")

    def _compile(self, circuit: Any, program: CircuitProgram) -> Compiled:
        n = circuit.num_qubits
        steps = [_step(kind, list(run), n) for kind, run in groupby(elementary(circuit), _kind)]
        return Compiled(n, circuit.depth(), tuple(step for part in steps for step in part))

    def _depth(self, compiled: Compiled) -> int:
        return compiled.depth

    def _probabilities(self, compiled: Compiled, program: CircuitProgram, stop: Event) -> Sequence[Floats]:
        parameters, laws = np.asarray(program.parameters, np.float64), list[Floats]()
        chunk = max(1, AMPLITUDES >> compiled.n)
        for begin in range(0, len(parameters), chunk):
            laws.extend(_law(compiled, parameters[begin : begin + chunk], stop))
        return laws

    def _samples(self, compiled: Compiled, program: CircuitProgram, seed: int, stop: Event) -> Sequence[Bits]:
        check_seed(seed)
        assert program.shots is not None
        rng, samples = np.random.default_rng(seed), list[Bits]()
        parameters, chunk = np.asarray(program.parameters, np.float64), max(1, AMPLITUDES >> compiled.n)
        for begin in range(0, len(parameters), chunk):
            for law in _law(compiled, parameters[begin : begin + chunk], stop):
                samples.append(draw(law, program.shots, rng))
        return samples


def _law(compiled: Compiled, parameters: Floats, stop: Event) -> Floats:
    """Probabilities float64 [P, 2^n]."""
    state: Complexes = np.zeros((len(parameters), 1 << compiled.n), np.complex128)
    state[:, 0] = 1.0
    for step in compiled.steps:
        if stop.is_set():
            raise Cancelled("cancelled between two gates")
        if isinstance(step, Phases):
            state *= np.exp(1j * _phase(step, parameters, compiled.n))
        elif isinstance(step, Layer):
            state = _mixed(state, step, parameters, compiled.n)
        else:
            _apply(state, step, parameters, compiled.n)
    law: Floats = state.real**2 + state.imag**2
    return law


def _kind(gate: Gate) -> str:
    if gate.array is None and gate.name in ("rz", "p", "rzz"):
        return "diagonal"
    if gate.array is not None and (gate.array.ndim == 1 or not np.any(gate.array - np.diag(np.diagonal(gate.array)))):
        return "diagonal"
    return "single" if len(gate.qubits) == 1 and not gate.controls else "other"


def _step(kind: str, gates: list[Gate], n: int) -> Sequence[Gate | Phases | Layer]:
    if kind == "diagonal":
        return [_fused(gates, n)]
    if kind == "other":
        return gates
    return [Layer({qubit: [gate for gate in gates if gate.qubits[0] == qubit] for qubit in range(n)})]


def _fused(gates: list[Gate], n: int) -> Phases:
    used = {j for gate in gates for angle in gate.angles for j in angle.linear}
    if len(used) > TABLES or not all(angle.is_linear for gate in gates for angle in gate.angles):
        return Phases(None, {}, tuple(gates))
    forms = {j: (np.zeros(n), np.zeros((n, n))) for j in (-1, *sorted(used))}  # -1: what is constant
    rest = {j: np.zeros((1, 1 << n)) for j in forms}
    for gate in gates:
        factors = {-1: gate.angles[0].constant, **gate.angles[0].linear} if gate.angles else {-1: 1.0}
        pair = _quadratic(gate, n)
        for j, factor in factors.items():
            if pair is not None:
                forms[j][0][:] += factor * pair[0]
                forms[j][1][:] += factor * pair[1]
            elif factor:
                _add_phase(rest[j], gate, np.array([factor]), n)
    tables = {j: rest[j][0] + _ising(*forms[j]) for j in forms}
    return Phases(tables.pop(-1), tables, ())


def _quadratic(gate: Gate, n: int) -> tuple[Floats, Floats] | None:
    """h [n] and J [n, n]: phases sum h_i s_i + sum_{i>j} J_ij s_i s_j + a constant at an angle of 1; None: not so."""
    field, coupling = np.zeros(n), np.zeros((n, n))
    qubits = sorted((*gate.qubits, *(qubit for qubit, _ in gate.controls)), reverse=True)
    if gate.array is None and gate.name == "rzz" and not gate.controls:
        coupling[qubits[0], qubits[1]] = -0.5
        return field, coupling
    if len(gate.qubits) > 1 or len(qubits) > 2 or any(bit == 0 for _, bit in gate.controls):
        return None
    turn = 1.0  # of the state 1 against the state 0
    if gate.array is not None:
        values = np.angle(np.diagonal(gate.array))
        if gate.controls and values[0]:
            return None
        turn = float(values[1] - values[0])
    elif gate.name == "rz" and gate.controls:
        return None
    for qubit in qubits:
        field[qubit] = -turn / 2 ** len(qubits)
    if gate.controls:
        coupling[qubits[0], qubits[1]] = turn / 4
    return field, coupling


def _ising(field: Floats, coupling: Floats) -> Floats:
    """sum h_i s_i + sum_{i>j} J_ij s_i s_j of all states, float64 [2^n], one qubit after the other."""
    energies = np.zeros(1)
    for i in range(len(field)):
        local = np.array([field[i]])
        for j in range(i):
            local = np.concatenate([local + coupling[i, j], local - coupling[i, j]])
        energies = np.concatenate([energies + local, energies - local])
    return energies


def _phase(step: Phases, parameters: Floats, n: int) -> Floats:
    if step.constant is None:
        total: Floats = np.zeros((len(parameters), 1 << n))
        for gate in step.gates:
            _add_phase(total, gate, gate.angles[0](parameters) if gate.angles else np.ones(1), n)
        return total
    phase: Floats = np.tile(step.constant, (len(parameters), 1))
    for j, table in step.tables.items():
        phase += parameters[:, j, None] * table
    return phase


def _add_phase(phase: Floats, gate: Gate, angle: Floats, n: int) -> None:
    """Add the phases of a diagonal gate to phase float64 [P, 2^n], in place; angle: float64 [P] or [1]."""
    if gate.array is None:
        diagonal: Any = {"rz": (-0.5, 0.5), "p": (0.0, 1.0), "rzz": (-0.5, 0.5, 0.5, -0.5)}[gate.name]
    else:
        diagonal = np.angle(gate.array if gate.array.ndim == 1 else np.diagonal(gate.array))
    shape, axes = _split(gate, n)
    view, scale = phase.reshape(-1, *shape), angle.reshape(-1, *[1] * len(shape))
    if len(diagonal) > 16:  # as one array, in the order of the state's axes
        k = len(gate.qubits)
        order = sorted(range(k), key=lambda i: -gate.qubits[i])
        table = np.reshape(diagonal, [2] * k).transpose([k - 1 - i for i in order])
        spread = [2 if axis in {axes[qubit] for qubit in gate.qubits} else 1 for axis in range(len(shape) + 1)]
        view[_where(gate.controls, axes)] += scale * table.reshape(spread)
        return
    for k, value in enumerate(diagonal):
        if value != 0.0:
            bits = tuple((qubit, (k >> i) & 1) for i, qubit in enumerate(gate.qubits))
            view[_where(gate.controls + bits, axes)] += scale * value


def _split(gate: Gate, n: int) -> tuple[list[int], dict[int, int]]:
    """A shape of 2^n states that has an axis for each qubit of a gate, and as few others as can be.

    With an axis of parameter sets before it, qubit q is axis axes[q].
    """
    shape, axes, top = list[int](), dict[int, int](), n
    for qubit in sorted([*gate.qubits, *(qubit for qubit, _ in gate.controls)], reverse=True):
        if top - qubit > 1:
            shape.append(1 << (top - qubit - 1))
        shape.append(2)
        axes[qubit], top = len(shape), qubit
    return [*shape, 1 << top], axes


def _where(bits: tuple[tuple[int, int], ...], axes: dict[int, int]) -> tuple[slice, ...]:
    """The part of the states where qubits have these bits; no axis is lost."""
    index = [slice(None)] * (max(axes.values()) + 2)
    for qubit, bit in bits:
        index[axes[qubit]] = slice(bit, bit + 1)
    return tuple(index)


def _apply(state: Complexes, gate: Gate, parameters: Floats, n: int) -> None:
    """Apply a gate to states complex128 [P, 2^n], in place."""
    shape, axes = _split(gate, n)
    view = state.reshape(-1, *shape)
    if len(gate.qubits) == 1:
        zero = view[_where((*gate.controls, (gate.qubits[0], 0)), axes)]
        one = view[_where((*gate.controls, (gate.qubits[0], 1)), axes)]
        a, b, c, d = _entries(gate, parameters, len(shape))
        new = a * zero + b * one
        one *= d
        one += c * zero
        zero[...] = new
        return
    assert gate.array is not None
    part = view[_where(gate.controls, axes)]
    moved = np.moveaxis(part, [axes[qubit] for qubit in reversed(gate.qubits)], range(-len(gate.qubits), 0))
    moved[...] = (moved.reshape(-1, len(gate.array)) @ gate.array.T).reshape(moved.shape)


def _mixed(state: Complexes, layer: Layer, parameters: Floats, n: int) -> Complexes:
    """States complex128 [P, 2^n] after a layer of gates on single qubits."""
    for low in range(0, n, BLOCK):
        high, matrix = min(low + BLOCK, n), np.ones((1, 1, 1), np.complex128)
        if not any(layer.gates[qubit] for qubit in range(low, high)):
            continue
        for qubit in reversed(range(low, high)):
            one = np.eye(2, dtype=np.complex128)[None]
            for gate in layer.gates[qubit]:
                one = np.stack(np.broadcast_arrays(*_entries(gate, parameters, 0)), -1).reshape(-1, 2, 2) @ one
            product = matrix[:, :, None, :, None] * one[:, None, :, None, :]  # of Kronecker
            matrix = product.reshape(len(product), 2 * matrix.shape[1], -1)
        if low == 0:
            state = (state.reshape(len(state), -1, 1 << high) @ matrix.swapaxes(1, 2)).reshape(len(state), -1)
        else:
            view = state.reshape(len(state), -1, 1 << (high - low), 1 << low)
            state = (matrix[:, None] @ view).reshape(len(state), -1)
    return state


def _entries(gate: Gate, parameters: Floats, rank: int) -> list[Any]:
    """Entries a, b, c, d of the matrix ((a, b), (c, d)) of a gate on one qubit: numbers, or [P, 1, ..., 1]."""
    if gate.array is not None:
        return list(gate.array.ravel())
    angles = [_value(angle, parameters).reshape(-1, *[1] * rank) for angle in gate.angles]
    cos, sin = np.cos(angles[0] / 2), np.sin(angles[0] / 2)
    if gate.name == "rx":
        return [cos, -1j * sin, -1j * sin, cos]
    if gate.name == "ry":
        return [cos, -sin, sin, cos]
    _, phi, lam = angles  # u
    return [cos, -np.exp(1j * lam) * sin, np.exp(1j * phi) * sin, np.exp(1j * (phi + lam)) * cos]


def _value(angle: Angle, parameters: Floats) -> Floats:
    """[1] where it is the same for all sets."""
    return angle(parameters[:1]) if angle.is_linear and not angle.linear else angle(parameters)
