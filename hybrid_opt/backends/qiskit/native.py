"""Circuits in a device's own gates: compiled once, then changed by hand and run as they are."""

from dataclasses import replace
from typing import Any

from hybrid_opt.backends.backend import CircuitProgram
from hybrid_opt.backends.qiskit.primitives import chosen


def restricted(circuit: Any) -> tuple[Any, tuple[int, ...]]:
    """Return a compiled circuit on its used qubits alone, and which of the device's these are."""
    from qiskit import QuantumCircuit, QuantumRegister

    working = [instruction for instruction in circuit.data if instruction.operation.name != "barrier"]
    used = sorted({circuit.find_bit(qubit).index for instruction in working for qubit in instruction.qubits})
    place = {index: i for i, index in enumerate(used)}
    small = QuantumCircuit(QuantumRegister(len(used), "q"), *circuit.cregs, global_phase=circuit.global_phase)
    for instruction in working:
        qubits = [place[circuit.find_bit(qubit).index] for qubit in instruction.qubits]
        small.append(instruction.operation, qubits, instruction.clbits)
    return small, tuple(used)


def native(program: CircuitProgram, whole: Any, qubits: tuple[int, ...] | None = None) -> CircuitProgram:
    """Return a program whose circuit is in the device's gates, without its measurements.

    Observables move to the qubits on which the compiled circuit ends.

    Args:
        whole: the compiled circuit, with qubit i of the program measured into bit i.
        qubits: of the device, for a circuit that is on its used qubits already.
    """
    from qiskit import QuantumCircuit

    small, used = restricted(whole) if qubits is None else (whole, qubits)
    ends = {
        small.find_bit(instruction.clbits[0]).index: small.find_bit(instruction.qubits[0]).index
        for instruction in small.data
        if instruction.operation.name == "measure"
    }
    bare = QuantumCircuit(small.num_qubits, global_phase=small.global_phase)
    for instruction in small.data:
        if not instruction.clbits and instruction.operation.name != "barrier":
            bare.append(instruction.operation, [small.find_bit(qubit).index for qubit in instruction.qubits])
    order = [ends[i] for i in range(program.circuit.num_qubits)]
    return replace(
        program,
        circuit=bare,
        parameters=chosen(bare, program.circuit.parameters, program.parameters),
        observables=tuple(observable.apply_layout(order, small.num_qubits) for observable in program.observables),
        layout=used,
    )
