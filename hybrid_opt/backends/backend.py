"""The contract of backends: where a circuit or an anneal runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.cost import Cost
from hybrid_opt.job import Job
from hybrid_opt.problem.qubo import Qubo

Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class CircuitProgram:
    """A parametrised circuit with sets of values for its parameters.

    circuit: a qiskit QuantumCircuit of n qubits without measurements. parameters: float64 [P, number of parameters], in
    the order of `circuit.parameters`. shots: for each set; None: exact, without sampling. observables: qiskit
    SparsePauliOps, whose means are wanted instead of samples. noise: a qiskit-aer NoiseModel, where the backend takes
    one. layout: the device's qubits, one for each of the circuit's, where the circuit is in the device's gates already
    and has to run as it is. A device that cannot run it there compiles it without optimisation.
    """

    circuit: Any
    parameters: NDArray[np.float64]
    shots: int | None = None
    observables: tuple[Any, ...] = ()
    noise: Any = None
    layout: tuple[int, ...] | None = None


@dataclass(frozen=True)
class AnnealProgram:
    """Problems to anneal, each `reads` times. options: what the annealer takes beside (annealing_time, ...)."""

    qubos: tuple[Qubo, ...]
    reads: int
    options: Mapping[str, Any] = field(default_factory=dict)


Program = CircuitProgram | AnnealProgram
Programs = Program | Sequence[Program]


@dataclass(frozen=True)
class Result:
    """What a program gave; one entry for each parameter set or Qubo.

    samples: uint8 [S, n] each, column i is bit i. probabilities: float64 [2^n] each, entry k of basis state k (bit i of
    k is (k >> i) & 1), where shots is None. means and errors: float64 [P, number of observables], with the standard
    errors. cost: what it did cost.
    """

    samples: tuple[Bits, ...] = ()
    probabilities: tuple[NDArray[np.float64], ...] = ()
    means: NDArray[np.float64] | None = None
    errors: NDArray[np.float64] | None = None
    cost: Cost = field(default_factory=Cost)
    about: Mapping[str, Any] = field(default_factory=dict)  # transpiled depth, embedding, chain breaks, ...


Results = Result | tuple[Result, ...]


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do."""

    circuits: bool = False
    anneals: bool = False
    exact: bool = False  # probabilities and means without sampling
    observables: bool = False
    noise: bool = False
    remote: bool = False  # it queues, may fail and may cost money


@dataclass(frozen=True)
class Limits:
    """How large a program may be; None: no limit that is known."""

    qubits: int | None = None
    parameter_sets: int | None = None
    shots: int | None = None
    depth: int | None = None


class Backend(Protocol):
    """Where programs run.

    A sequence of programs is one job: its result is the tuple of theirs, in order, each with its share of the cost. See
    RunsLists for a base that takes both.

    seed: of everything that is drawn; programs with the same key and seed give the same result on simulators. Program i
    of a sequence draws with `spawn(seed, i)`.
    """

    name: str

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def limits(self) -> Limits: ...

    def estimate(self, programs: Programs) -> Cost:
        """What the programs would cost, before anything is sent. Raises ProblemError where one cannot run here."""
        ...

    @overload
    def submit(self, programs: Program, key: str, seed: int = 0) -> Job[Result]: ...

    @overload
    def submit(self, programs: Sequence[Program], key: str, seed: int = 0) -> Job[tuple[Result, ...]]: ...

    def submit(self, programs: Programs, key: str, seed: int = 0) -> Job[Any]:
        """Send programs under a key of the caller's. Raises ProblemError, BackendError."""
        ...

    def find(self, key: str) -> Job[Any] | None:
        """The job that was sent under this key, by this or an earlier process; None where there is none."""
        ...

    def close(self) -> None:
        """Release connections and processes."""
        ...
