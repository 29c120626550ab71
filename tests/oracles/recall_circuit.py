"""The search of `recall` as a circuit: a check of its law at small sizes, and what a quantum computer would run."""

from typing import Any

import numpy as np

from quantum_sampler.codes.projection import Codes
from quantum_sampler.selector import Floats


def recall_circuit(probabilities: Floats, codes: Codes, query: int, radius: int, bits: int, iterations: int) -> Any:
    """The state after some iterations of amplitude amplification: a qiskit QuantumCircuit, ready to be measured.

    probabilities [N], summing to 1, and codes uint64 [N] of `bits` bits are those of the items; marked are codes within
    the Hamming radius of the query. Registers: `index`, ceil(log2 N) qubits, starts in amplitudes sqrt(probabilities);
    `code` and `count` are 0 before and after each iteration. Within it the oracle writes code XOR query of the index
    (N multi-controlled gates a bit: the loading that a memory of superpositions would do), counts its ones, and flips
    the sign where they are few. Raises ValueError for less than no iterations.
    """
    from qiskit.circuit import QuantumCircuit, QuantumRegister

    if iterations < 0:
        raise ValueError(f"iterations={iterations}: no less than 0 is accepted")
    places = max(1, (len(probabilities) - 1).bit_length())
    index = QuantumRegister(places, "index")
    code = QuantumRegister(bits, "code")
    count = QuantumRegister(bits.bit_length(), "count")
    start = _start(probabilities, places)
    write = QuantumCircuit(index, code, count)
    write.compose(_lookup(codes ^ np.uint64(query), places, bits), [*index, *code], inplace=True)
    write.compose(_ones(bits), [*code, *count], inplace=True)
    circuit = QuantumCircuit(index, code, count)
    circuit.compose(start, index, inplace=True)
    for _ in range(iterations):
        circuit.compose(write, inplace=True)
        circuit.compose(_few(bits, radius), count, inplace=True)
        circuit.compose(write.inverse(), inplace=True)
        circuit.compose(start.inverse(), index, inplace=True)
        circuit.x(index)
        circuit.mcp(np.pi, index[:-1], index[-1]) if places > 1 else circuit.z(index)
        circuit.x(index)
        circuit.compose(start, index, inplace=True)
    return circuit


def _start(probabilities: Floats, places: int) -> Any:
    """|0> to amplitudes sqrt(probabilities)."""
    from qiskit.circuit import QuantumCircuit
    from qiskit.circuit.library import StatePreparation

    amplitudes = np.zeros(1 << places)
    amplitudes[: len(probabilities)] = np.sqrt(probabilities)
    circuit = QuantumCircuit(places)
    circuit.append(StatePreparation(amplitudes / np.linalg.norm(amplitudes)), range(places))
    return circuit


def _lookup(words: Codes, places: int, bits: int) -> Any:
    """XOR the word of the index into a register."""
    from qiskit.circuit import QuantumCircuit
    from qiskit.circuit.library import XGate

    circuit = QuantumCircuit(places + bits)
    for item, word in enumerate(words.tolist()):
        for bit in range(bits):
            if word >> bit & 1:
                circuit.append(XGate().control(places, ctrl_state=item), [*range(places), places + bit])
    return circuit


def _ones(bits: int) -> Any:
    """Add the number of ones of a register to a counter."""
    from qiskit.circuit import QuantumCircuit

    width = bits.bit_length()
    circuit = QuantumCircuit(bits + width)
    for bit in range(bits):
        for place in reversed(range(width)):
            circuit.mcx([bit, *range(bits, bits + place)], bits + place)
    return circuit


def _few(bits: int, radius: int) -> Any:
    """Sign -1 where a counter of up to `bits` is at most the radius."""
    from qiskit.circuit import QuantumCircuit
    from qiskit.circuit.library import DiagonalGate

    width = bits.bit_length()
    circuit = QuantumCircuit(width)
    circuit.append(DiagonalGate(np.where(np.arange(1 << width) <= radius, -1.0, 1.0).tolist()), range(width))
    return circuit
