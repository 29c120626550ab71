"""QAOA as a circuit: the same state as hybrid_opt.simulator.qaoa, up to a global phase."""

from collections.abc import Callable, Sequence
from math import atan2, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simulator.mixers import Mixer, MixerName, mixer_of, ring, standardisation, unentangled

Floats = NDArray[np.float64]
Edges = dict[tuple[int, ...], float]


def qaoa_circuit(qubo: Qubo, layers: int, *, mixer: MixerName | Mixer = "auto", entangle: bool = True) -> Any:
    """The circuit of a Qubo: a qiskit QuantumCircuit with the parameters gamma[layers] and beta[layers].

    A layer is exp(-i gamma (C - mean) / std) by RZ and RZZ, then the mixer (Hadfield et al. 2019): RX; on one-hot
    blocks the complete XY mixer, exactly, by a ladder of XX+YY gates to the block's W state, a phase there, and back;
    or XX+YY gates on the neighbours in a ring. Cardinalities start from a Dicke state (Baertschi and Eidenbenz 2019).
    entangle: False leaves couplings out; what is left is the part of the energy that depends on one block or qubit.

    Raises ProblemError for a mixer that does not go with the constraints.
    """
    from qiskit.circuit import ParameterVector

    if layers < 1:
        raise ProblemError(f"layers={layers}: at least one is accepted")
    gammas, betas = ParameterVector("gamma", layers), ParameterVector("beta", layers)
    edges = _edges(qubo, entangle)
    return _circuit(
        qubo, _mixer(qubo, mixer), layers, list(edges), lambda layer, edge: gammas[layer] * edges[edge], betas
    )


def qaoa_program(
    qubos: Sequence[Qubo],
    gammas: ArrayLike,
    betas: ArrayLike,
    *,
    mixer: MixerName | Mixer = "auto",
    entangle: bool = True,
) -> tuple[Any, Floats]:
    """One circuit for Qubos with the same constraints, and its parameter sets for angles [B, layers].

    A single Qubo: that of `qaoa_circuit`, with B parameter sets. Several, B of them: the angles of all RZ and RZZ are
    parameters, so that one program runs them all.
    """
    gammas, betas = np.atleast_2d(np.asarray(gammas, np.float64)), np.atleast_2d(np.asarray(betas, np.float64))
    layers = gammas.shape[1]
    if len(qubos) == 1:
        circuit = qaoa_circuit(qubos[0], layers, mixer=mixer, entangle=entangle)
        values = {f"gamma[{i}]": gammas[:, i] for i in range(layers)}
        values |= {f"beta[{i}]": betas[:, i] for i in range(layers)}
    else:
        from qiskit.circuit import ParameterVector

        known = [_edges(qubo, entangle) for qubo in qubos]
        edges = sorted(set().union(*known), key=lambda edge: (len(edge), edge))
        vector, angles = ParameterVector("beta", layers), ParameterVector("phase", layers * len(edges))
        place = {edge: number for number, edge in enumerate(edges)}
        circuit = _circuit(
            qubos[0],
            _mixer(qubos[0], mixer),
            layers,
            edges,
            lambda layer, edge: angles[layer * len(edges) + place[edge]],
            vector,
        )
        weights = np.array([[one.get(edge, 0.0) for edge in edges] for one in known]).reshape(len(qubos), -1)  # [B, E]
        phases = (gammas[:, :, None] * weights[:, None]).reshape(len(qubos), -1)
        values = {f"phase[{i}]": phases[:, i] for i in range(phases.shape[1])}
        values |= {f"beta[{i}]": betas[:, i] for i in range(layers)}
    columns = [values[parameter.name] for parameter in circuit.parameters]
    return circuit, np.stack(columns, 1)


def _mixer(qubo: Qubo, mixer: MixerName | Mixer) -> Mixer:
    return mixer if isinstance(mixer, Mixer) else mixer_of(qubo, mixer)


def _edges(qubo: Qubo, entangle: bool) -> Edges:
    """Angles of RZ on (i,) and RZZ on (i, j) at gamma = 1. Couplings inside a block never count."""
    _, std = standardisation(qubo)
    source = qubo if entangle else unentangled(qubo)
    couplings = source.couplings / 4
    for block in qubo.one_hot:
        couplings[np.ix_(block, block)] = 0
    fields = -source.linear / 2 - couplings.sum(1)
    edges: Edges = {(i,): 2 * fields[i] / std for i in range(qubo.n) if fields[i]}
    return edges | {(i, j): 2 * couplings[i, j] / std for i, j in zip(*np.nonzero(np.triu(couplings)), strict=True)}


def _circuit(
    qubo: Qubo, mixer: Mixer, layers: int, edges: list[tuple[int, ...]], angle: Callable[[int, Any], Any], betas: Any
) -> Any:
    from qiskit.circuit import QuantumCircuit

    circuit = QuantumCircuit(qubo.n)
    starts = mixer.starts[len(mixer.blocks) :]
    for block, start in zip(mixer.blocks, mixer.starts, strict=False):
        circuit.x(block[0])
        _ladder(circuit, block, start)
    if mixer.ones is not None:
        _dicke(circuit, mixer.free, mixer.ones)
    elif mixer.uniform and mixer.free:
        circuit.h(mixer.free)
    else:
        for qubit, (zero, one) in zip(mixer.free, starts, strict=True):
            circuit.ry(2 * atan2(one, zero), qubit)
    for layer in range(layers):
        for edge in edges:
            (circuit.rz if len(edge) == 1 else circuit.rzz)(angle(layer, edge), *(int(i) for i in edge))
        beta = betas[layer]
        for block, start in zip(mixer.blocks, mixer.starts, strict=False):
            if mixer.ring:
                _hops(circuit, block, beta)
            elif len(block) > 1:
                _ladder(circuit, block, start, inverse=True)
                circuit.p(2 * beta, block[0])
                _ladder(circuit, block, start)
        if mixer.ones is not None:
            _hops(circuit, mixer.free, beta)
        elif mixer.uniform and mixer.free:
            circuit.rx(-2 * beta, mixer.free)
        else:
            for qubit, (zero, one) in zip(mixer.free, starts, strict=True):
                theta = 2 * atan2(one, zero)
                circuit.ry(-theta, qubit)
                circuit.rz(-2 * beta, qubit)
                circuit.ry(theta, qubit)
    return circuit


def _hops(circuit: Any, qubits: Sequence[int], beta: Any) -> None:
    """exp(i beta (XX + YY) / 2) on the neighbours in a ring."""
    from qiskit.circuit.library import XXPlusYYGate

    for i, j in ring(len(qubits)):
        circuit.append(XXPlusYYGate(-2 * beta), [qubits[i], qubits[j]])


def _ladder(circuit: Any, block: Sequence[int], amplitudes: Floats, inverse: bool = False) -> None:
    """Spread a 1 on the first qubit over the block, with these amplitudes."""
    from qiskit.circuit.library import XXPlusYYGate

    left = np.sqrt(np.cumsum(np.square(amplitudes)[::-1])[::-1])  # norm from each place on
    turns = [(i, 2 * atan2(left[i + 1], amplitudes[i])) for i in range(len(block) - 1)]
    for i, theta in reversed(turns) if inverse else turns:
        circuit.append(XXPlusYYGate(-theta if inverse else theta, np.pi / 2), [block[i], block[i + 1]])


def _dicke(circuit: Any, qubits: Sequence[int], ones: int) -> None:
    """The uniform superposition of all states of the qubits with so many ones."""
    from qiskit.circuit.library import RYGate

    n = len(qubits)
    for qubit in qubits[n - ones :]:
        circuit.x(qubit)
    for size in range(n, 1, -1):
        last = size - 1
        for moved in range(1, min(ones, last) + 1):
            target, controls = last - moved, [last] if moved == 1 else [last, last - moved + 1]
            turn = RYGate(2 * float(np.arccos(sqrt(moved / size)))).control(len(controls), annotated=False)
            circuit.cx(qubits[target], qubits[last])
            circuit.append(turn, [*(qubits[control] for control in controls), qubits[target]])
            circuit.cx(qubits[target], qubits[last])
