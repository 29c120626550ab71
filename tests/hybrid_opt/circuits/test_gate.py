"""Which gates matter, against all outcomes of the circuit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_opt.circuits.gate import Gate, checked, effective, to_qiskit
from hybrid_opt.errors import ProblemError

QUBITS = 3
ONE = st.tuples(st.sampled_from(["h", "rx", "ry", "rz", "rz"]), st.tuples(st.integers(0, QUBITS - 1)))
PAIRS = st.lists(st.integers(0, QUBITS - 1), min_size=2, max_size=2, unique=True).map(tuple)
TWO = st.tuples(st.sampled_from(["cx", "cz", "rzz"]), PAIRS)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(ONE, TWO), max_size=12))
def test_gates_that_are_left_out_change_no_probability(drawn):
    from qiskit.quantum_info import Statevector

    gates, angles = [], 0
    for name, qubits in drawn:
        with_angle = name.startswith("r")
        gates.append(Gate(name, qubits, angles if with_angle else -1))
        angles += with_angle
    values = np.random.default_rng(0).uniform(-3, 3, angles)

    def law(some):
        circuit = to_qiskit(some, QUBITS, max(1, angles))
        used = {parameter: values[parameter.index] for parameter in circuit.parameters}
        return Statevector(circuit.assign_parameters(used)).probabilities()

    np.testing.assert_allclose(law([gates[place] for place in effective(gates, QUBITS)]), law(gates), atol=1e-12)


def test_what_can_be_left_out():
    gates = [
        Gate("rz", (0,), 0),  # on |0>
        Gate("cz", (0, 1)),
        Gate("ry", (0,), 1),
        Gate("rz", (0,), 2),  # matters by the RY that follows
        Gate("ry", (0,), 3),
        Gate("rz", (0,), 4),  # before a CNOT alone
        Gate("cx", (0, 1)),
        Gate("rzz", (0, 1), 5),
    ]
    assert effective(gates, 2) == [2, 3, 4, 6]


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (Gate("swap", (0, 1)), "gate swap: h, rx, ry, rz, flip, rzz, cx, cz are accepted"),
        (Gate("cx", (0, 2)), r"gate cx on \(0, 2\): 2 of 2 qubits are accepted"),
        (Gate("cx", (1, 1)), r"gate cx on \(1, 1\): 2 of 2 qubits are accepted"),
        (Gate("rx", (0,)), "gate rx: rx, ry, rz, flip, rzz have an angle, and no others"),
        (Gate("h", (0,), 1), "gate h: rx, ry, rz, flip, rzz have an angle, and no others"),
    ],
)
def test_gates_that_are_not_accepted(gate, message):
    with pytest.raises(ProblemError, match=f"^{message}$"):
        checked([gate], 2)
