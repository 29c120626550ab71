"""Circuits on their way to a backend: checked against what it can do, compiled once, kept."""

import threading
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import Capabilities, CircuitProgram, Limits, Program
from hybrid_opt.backends.errors import VendorCalls, circuit_errors
from hybrid_opt.backends.local.observables import Basis, bases
from hybrid_opt.backends.programs import RunsLists
from hybrid_opt.cost import Cost
from hybrid_opt.errors import ProblemError

Floats = NDArray[np.float64]
KEPT = 32  # compiled circuits


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class CircuitConfig:
    """max_depth: deeper circuits, as they run on the backend, are refused; None: any depth."""

    max_depth: PositiveInt | None = None


class CompiledCircuits(RunsLists, VendorCalls):
    """Base of all backends of circuits. A circuit is known by identity; its compiled form is used again.

    Observables are measured in qubit-wise commuting bases, one circuit for each.
    """

    Config: ClassVar[type[Any]] = CircuitConfig

    def __init__(self, name: str, config: Any = None) -> None:
        self.name, self.config = name, config or type(self).Config()
        self._compiled, self._compiling = OrderedDict[tuple[Any, ...], tuple[Any, ...]](), threading.RLock()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(circuits=True, exact=True, observables=True)

    @property
    def limits(self) -> Limits:
        return Limits(qubits=self._qubits(), depth=self.config.max_depth)

    def _estimate(self, programs: Sequence[Program]) -> Cost:
        """Shots and circuits; simulators take no time of a processor and no money."""
        cost = Cost()
        for program in programs:
            circuits = len(self._prepare(program)) * len(_parameters(program))
            cost += Cost(shots=circuits * (getattr(program, "shots", 0) or 0), circuits=circuits)
        return cost

    def close(self) -> None:
        self._compiled.clear()

    @abstractmethod
    def _compile(self, circuit: Any, program: CircuitProgram) -> Any:
        """The circuit as it runs here. Raises ProblemError."""

    @abstractmethod
    def _depth(self, compiled: Any) -> int:
        """Of a compiled circuit."""

    def _qubits(self) -> int | None:
        """The most that fit."""
        return None

    def _check_size(self, n: int, program: CircuitProgram) -> None:
        limit = self._qubits()
        if limit is not None and n > limit:
            raise ProblemError(f"circuit: {n} qubits; backend={self.name} has {limit}")

    def _prepare(self, program: Program) -> list[tuple[Basis | None, Any]]:
        """Check a program and compile it: one circuit, or one for each basis of its observables."""
        checked = self._checked(program)
        with self._compiling:
            return [(basis, self._kept(checked.circuit, checked, basis)) for basis in self._bases(checked)]

    def _checked(self, program: Program) -> CircuitProgram:
        """Raise ProblemError where this backend cannot run a program."""
        if not isinstance(program, CircuitProgram):
            raise ProblemError(f"backend={self.name}: runs no anneals; dwave does")
        _check(program, self)
        self._check_size(program.circuit.num_qubits, program)
        return program

    def _bases(self, program: CircuitProgram) -> Sequence[Basis | None]:
        """In which to measure: None for the computational one, where samples are wanted."""
        if not program.observables:
            return [None]
        key = ("bases", *map(id, program.observables))
        found: list[Basis] = self._remember(key, program.observables, lambda: bases(program.observables))
        return found

    def _kept(self, circuit: Any, program: CircuitProgram, basis: Basis | None) -> Any:
        def compile_it() -> Any:
            with circuit_errors(f"compiled for backend={self.name}"):  # it may need what the device does not have
                compiled = self._compile(circuit if basis is None else basis.rotate(circuit), program)
            depth, allowed = self._depth(compiled), self.config.max_depth
            if allowed is not None and depth > allowed:
                raise ProblemError(f"circuit: depth {depth} on backend={self.name}; max_depth={allowed} is allowed")
            return compiled

        exact = program.shots is None
        key = ("circuit", id(circuit), len(circuit.data), id(basis), id(program.noise), exact, program.layout)
        return self._remember(key, (circuit, basis, program.noise), compile_it)

    def _remember(self, key: tuple[Any, ...], alive: Any, make: Any) -> Any:
        """What `make` gave for this key; `alive` keeps the objects whose ids are in the key."""
        if key not in self._compiled:
            self._compiled[key] = (alive, make())
            while len(self._compiled) > KEPT:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return self._compiled[key][1]


def _parameters(program: Any) -> Floats:
    parameters: Floats = program.parameters
    return parameters


def _check(program: CircuitProgram, backend: CompiledCircuits) -> None:
    circuit, values, can = program.circuit, np.asarray(program.parameters), backend.capabilities
    if not hasattr(circuit, "num_qubits") or not hasattr(circuit, "data"):
        raise ProblemError(f"circuit: a {type(circuit).__name__}; a qiskit QuantumCircuit is accepted")
    if values.ndim != 2 or values.shape[1] != circuit.num_parameters or not len(values):
        shape = f"[P, {circuit.num_parameters}] with P >= 1"
        raise ProblemError(f"parameters: shape {values.shape}; the circuit takes {shape}")
    if not np.isfinite(values).all():
        raise ProblemError(f"parameters: {(~np.isfinite(values)).sum()} are NaN or infinite")
    for instruction in circuit.data:
        if instruction.clbits or instruction.operation.name == "reset":
            raise ProblemError(f"circuit: has {instruction.operation.name}; gates only are accepted")
    if program.shots is None and not can.exact:
        raise ProblemError(f"shots=None: backend={backend.name} has no exact mode; an integer >= 1 is accepted")
    if program.shots is not None and (program.shots != int(program.shots) or program.shots < 1):
        raise ProblemError(f"shots={program.shots}: None or an integer >= 1 is accepted")
    if program.shots is not None and backend.limits.shots is not None and program.shots > backend.limits.shots:
        raise ProblemError(f"shots={program.shots}: backend={backend.name} takes at most {backend.limits.shots}")
    if program.noise is not None and not can.noise:
        raise ProblemError(f"noise: backend={backend.name} takes none; aer does")
    for observable in program.observables:
        if observable.num_qubits != circuit.num_qubits:
            wrong = f"an observable of {observable.num_qubits} qubits"
            raise ProblemError(f"observables: {wrong}; the circuit has {circuit.num_qubits}")
