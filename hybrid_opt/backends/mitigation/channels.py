"""Known Pauli noise of a circuit, and random Paulis that undo it or add to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.backends.backend import CircuitProgram, Result
from hybrid_opt.backends.mitigation.technique import Expansion, Technique, values
from hybrid_opt.backends.mitigation.twirling import add_paulis

Floats = NDArray[np.float64]
SINGLE = 10.0  # errors of two-qubit gates are as many times as frequent as those of gates on one qubit
DRAWS = 20_000  # at most; more shots share the circuits that were drawn
VIRTUAL = ("barrier", "delay", "id")


@dataclass(frozen=True)
class Place:
    """Pauli noise after instruction `after` on these qubits; it shrinks Pauli P by fidelities[P], float64 [4^k]."""

    after: int
    qubits: tuple[int, ...]
    fidelities: Floats

    def weights(self, power: float) -> Floats:
        """Signed chances [4^k] of the Paulis that shrink each P by fidelities[P]^power; negative powers undo it."""
        signs = commutation(len(self.qubits))
        weights: Floats = signs @ self.fidelities**power / len(signs)
        return weights


def places_of(technique: Technique, program: CircuitProgram, p: float | None) -> list[Place]:
    """Where a circuit has noise: from `p`, or from the program's noise model. Raises ProblemError where neither is."""
    if p is not None and program.noise is not None:
        raise technique.error(f"p={p}: the program has a noise model; one of both is accepted")
    if p is not None:
        return depolarised(technique, program.circuit, p)
    if program.noise is None:
        raise technique.error("needs an exact model of the noise; p=0.01, or a program with `noise`, is accepted")
    return list(modelled(technique, program.circuit, program.noise))


def depolarised(technique: Technique, circuit: Any, p: float) -> list[Place]:
    """An error with chance p after each gate on two qubits, and p / 10 after each run of gates on one qubit."""
    found, pending = list[Place](), dict[int, int]()
    single, double = np.full(4, 1 - 4 * p / SINGLE / 3), np.full(16, 1 - 16 * p / 15)
    single[0] = double[0] = 1.0
    for index, item in enumerate(circuit.data):
        qubits = tuple(circuit.find_bit(qubit).index for qubit in item.qubits)
        if item.operation.name in VIRTUAL:
            continue
        if len(qubits) == 1:
            pending[qubits[0]] = index
        elif len(qubits) == 2:
            found += [Place(pending.pop(qubit), (qubit,), single) for qubit in qubits if qubit in pending]
            found.append(Place(index, qubits, double))
        else:
            raise technique.error(f"p={p}: the circuit has {item.operation.name}; gates on one or two qubits are")
    return found + [Place(index, (qubit,), single) for qubit, index in pending.items()]


def modelled(technique: Technique, circuit: Any, noise: Any) -> Sequence[Place]:
    """The Pauli noise that a qiskit-aer NoiseModel has after each gate."""
    from qiskit.quantum_info import PTM

    found, known = list[Place](), dict[int, Floats]()
    for index, item in enumerate(circuit.data):
        name, qubits = item.operation.name, tuple(circuit.find_bit(qubit).index for qubit in item.qubits)
        local = noise._local_quantum_errors.get(name, {})  # qiskit-aer has no public way to ask for it
        error = local.get(qubits, noise._default_quantum_errors.get(name))
        if error is None:
            continue
        if id(error) not in known:
            matrix = np.real(PTM(error).data)
            if np.abs(matrix - np.diag(np.diag(matrix))).max() > 1e-9:
                raise technique.error(f"the noise of {name} is no Pauli channel; Pauli channels are accepted")
            known[id(error)] = np.diag(matrix).copy()
        found.append(Place(index, qubits, known[id(error)]))
    return found


@cache
def commutation(k: int) -> Floats:
    """Float64 [4^k, 4^k]: 1 where two Paulis of k qubits commute, -1 where they do not."""
    one = np.array([[1.0, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
    return one if k == 1 else np.kron(commutation(k - 1), one)


def overhead(weights: Sequence[Floats]) -> float:
    """Gamma, the factor by which standard errors grow: the product of the sums of |weights|."""
    return float(np.prod([np.abs(each).sum() for each in weights]))


def drawn(
    technique: Technique, program: CircuitProgram, places: Sequence[Place], weights: Sequence[Floats], seed: int
) -> Expansion:
    """Insert Paulis by their signed weights, with a draw of its own for each shot; equal draws are one circuit.

    All parameter sets share the draws. Raises ProblemError without shots, unless there is nothing to draw.
    """
    gamma = overhead(weights)
    shots = program.shots
    if abs(gamma - 1) < 1e-12 and all(abs(each[0] - 1) < 1e-12 for each in weights):
        return Expansion((program,), lambda results: results[0], {"overhead": 1.0})
    if shots is None:
        raise technique.error("shots=None: an integer is accepted, as circuits are drawn for shots")
    if gamma**2 > shots:
        raise technique.error(f"shots={shots}: the overhead Gamma^2 = {gamma**2:.4g} leaves nothing of them")
    rng, draws = np.random.default_rng(seed), min(shots, DRAWS)
    choices = np.empty((draws, len(places)), np.uint8)
    signs = np.ones(draws)
    for column, each in enumerate(weights):
        choices[:, column] = rng.choice(len(each), draws, p=np.abs(each) / np.abs(each).sum())
        signs *= np.where(each < 0, -1.0, 1.0)[choices[:, column]]
    kinds, first, of, counts = np.unique(choices, axis=0, return_index=True, return_inverse=True, return_counts=True)
    each = np.full(draws, shots // draws) + (np.arange(draws) < shots % draws)
    amounts = np.bincount(of.ravel(), each).astype(int)
    circuits = [inserted(program.circuit, places, kind) for kind in kinds]
    programs = [replace(program, circuit=c, shots=int(s)) for c, s in zip(circuits, amounts, strict=True)]
    factors = gamma * signs[first]  # [K]

    def combine(results: Sequence[Result]) -> Result:
        parts = [values(result) for result in results]
        means = np.stack([factor * mean for factor, (mean, _) in zip(factors, parts, strict=True)])  # [K, P, m]
        within = np.stack([np.where(np.isfinite(error), gamma * error, 0.0) for _, error in parts])
        mean = np.tensordot(counts / draws, means, 1)
        # of the single draws: between the circuits, and within each, of which the shots tell
        square = np.tensordot(counts, (means - mean) ** 2, 1)
        square += np.tensordot(counts**2 * (amounts - 1) / amounts, within**2, 1)
        error = np.sqrt(square / draws / (draws - 1)) if draws > 1 else np.full_like(mean, np.inf)
        return Result(means=mean, errors=error)

    return Expansion(tuple(programs), combine, {"overhead": gamma**2})


def inserted(circuit: Any, places: Sequence[Place], codes: Sequence[int]) -> Any:
    """A circuit with a Pauli at each place."""
    wanted = dict[int, list[tuple[tuple[int, ...], int]]]()
    for place, code in zip(places, codes, strict=True):
        if code:
            wanted.setdefault(place.after, []).append((place.qubits, int(code)))
    if not wanted:
        return circuit
    made = circuit.copy_empty_like()
    for index, item in enumerate(circuit.data):
        made.append(item)
        for qubits, code in wanted.get(index, ()):
            add_paulis(made, [made.qubits[qubit] for qubit in qubits], code)
    return made
