"""Qiskit's primitives: the unified blocks that go in, the results that come out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.backends.backend import Bits, CircuitProgram
from hybrid_opt.backends.programs import check_seed, spawn
from hybrid_opt.errors import CorruptResult

BASIS = ("cx", "cz", "rzz", "u")  # gates of our noise models
INNER = "inner"  # label of a gate that another one of its run follows: noise models have no errors for it


def measured(circuit: Any) -> Any:
    """A copy with all qubits measured into the register `meas`, qubit i into bit i."""
    copy = circuit.copy()
    copy.measure_all(inplace=True)
    return copy


def runs_marked(circuit: Any) -> Any:
    """A compiled circuit in which only the last u of each run on a qubit has its name; the others are labelled."""
    marked, following = circuit.copy_empty_like(), dict[Any, str]()
    found = list[Any]()
    for instruction in reversed(circuit.data):
        name = instruction.operation.name
        if name == "u" and following.get(instruction.qubits[0]) == "u":
            operation = instruction.operation.to_mutable()
            operation.label = INNER
            instruction = instruction.replace(operation=operation)
        following.update(dict.fromkeys(instruction.qubits, name))
        found.append(instruction)
    for instruction in reversed(found):
        marked.append(instruction)
    return marked


def depth(circuit: Any) -> int:
    """Of its gates: measurements, barriers and instructions that save something do not count."""
    gates = lambda instruction: not instruction.clbits and not instruction.operation.name.startswith("save_")  # noqa: E731
    found: int = circuit.depth(gates)
    return found


def chosen(compiled: Any, order: Sequence[Any], parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """The columns of parameters [P, m], in the circuit's `order`, for what compilation has left of its parameters."""
    place = {parameter: index for index, parameter in enumerate(order)}
    return np.asarray(parameters, np.float64)[:, [place[parameter] for parameter in compiled.parameters]]


def blocks(
    compiled: Any, order: Sequence[Any], parameters: NDArray[np.float64], amount: float, *observables: Any
) -> list[Any]:
    """One parametrised block for all parameter sets; as many as sets where there are no parameters.

    amount: shots, or the precision of the observables.
    """
    values = [chosen(compiled, order, parameters)] if compiled.num_parameters else [None] * len(parameters)
    return [(compiled, *observables, value, amount) for value in values]


def sampled(simulator: Any, whole: Any, circuit: Any, program: CircuitProgram, seed: int) -> Sequence[Bits]:
    """Run a compiled circuit on an AerSimulator through the runtime's sampler, all parameter sets in one job."""
    from qiskit_ibm_runtime import Sampler

    check_seed(seed)
    sampler = Sampler(mode=simulator, options={"simulator": {"seed_simulator": spawn(seed, 0)}})
    assert program.shots is not None
    return bits_of(sampler.run(blocks(whole, circuit.parameters, program.parameters, program.shots)).result())


def bits_of(results: Any) -> tuple[Bits, ...]:
    """Samples uint8 [S, n] for each parameter set of a sampler's result. Raises CorruptResult."""
    samples = list[Bits]()
    for result in results:
        try:
            data = result.data["meas"] if "meas" in result.data else next(iter(result.data.values()))
            packed, n = np.asarray(data.array, np.uint8), int(data.num_bits)  # [..., S, bytes], highest byte first
        except (AttributeError, StopIteration, TypeError, ValueError) as error:
            raise CorruptResult(f"a result without samples ({error})") from error
        bits = np.unpackbits(packed, axis=-1)[..., ::-1][..., :n]
        samples.extend(np.ascontiguousarray(rows) for rows in bits.reshape(-1, *bits.shape[-2:]))
    return tuple(samples)


def means_of(results: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and standard errors float64 [P, m] of an estimator's result. Raises CorruptResult."""
    try:
        means = [np.asarray(result.data.evs, np.float64) for result in results]
        errors = [np.asarray(result.data.stds, np.float64) for result in results]
        rows = [np.hstack([row.reshape(len(row), -1) for row in part]).T for part in (means, errors)]
    except (AttributeError, TypeError, ValueError) as error:
        raise CorruptResult(f"a result without means ({error})") from error
    return rows[0], rows[1]
