"""Encodings against PennyLane and Qiskit, and their kernels against their states."""

import math

import numpy as np
import pytest
import torch

from hybrid_opt.circuits.encodings.registry import ENCODINGS
from hybrid_opt.errors import ProblemError
from tests.oracles import pennylane_layer

NAMES = ["amplitude", "angle", "angle_xyz", "basis", "dense", "iqp"]


def drawn(name, rows, inputs, seed=0):
    x = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (x > 0).double() if name == "basis" else x


def state(encoding, x, qubits):
    from qiskit.quantum_info import Statevector

    circuit = encoding.circuit(qubits)
    return Statevector(circuit.assign_parameters(encoding.angles(x).numpy())).data


def test_all_files_are_found():
    assert sorted(ENCODINGS) == NAMES


@pytest.mark.parametrize("qubits", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_circuits_prepare_the_states_of_pennylane(name, qubits):
    encoding = ENCODINGS.find(name, "encoding")()
    for x in drawn(name, 3, encoding.inputs(qubits)):
        expected = pennylane_layer.state(name, x, qubits)
        assert abs(np.vdot(expected, state(encoding, x, qubits))) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("qubits", [1, 2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_kernels_are_overlaps_of_states(name, qubits):
    encoding = ENCODINGS.find(name, "encoding")()
    x = drawn(name, 3, encoding.inputs(qubits))
    states = np.stack([state(encoding, row, qubits) for row in x])
    found = encoding.kernel(x[:, None], x)
    np.testing.assert_allclose(found, np.abs(states.conj() @ states.T) ** 2, atol=1e-12)
    y = drawn(name, 3, encoding.inputs(qubits), 1)
    if name != "basis":
        x.requires_grad_()
        assert torch.autograd.gradcheck(encoding.kernel, (x, y))


def test_the_start_of_an_amplitude_encoding_is_its_circuit():
    encoding = ENCODINGS.find("amplitude", "encoding")()
    x = drawn("amplitude", 4, 8)
    x[1, :6], x[2, 4:] = 0.0, 0.0  # branches of the tree that are empty
    start = encoding.start(x)
    for row, real in zip(x, start[:, 0], strict=True):
        np.testing.assert_allclose(state(encoding, row, 3), real, atol=1e-12)
    assert not start[:, 1].any()


def test_a_zero_vector_of_amplitudes_is_the_first_basis_state():
    encoding = ENCODINGS.find("amplitude", "encoding")()
    x = torch.zeros(1, 4, requires_grad=True)
    assert encoding.start(x)[0, 0].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert encoding.angles(x).tolist() == [[0.0, 0.0, 0.0]]
    (encoding.start(x).sum() + encoding.angles(x).sum()).backward()
    assert x.grad is not None and not x.grad.any()


@pytest.mark.parametrize("size", [1e-44, 1e-30, 1e30])
def test_amplitudes_of_any_size_are_divided_by_their_norm(size):
    encoding = ENCODINGS.find("amplitude", "encoding")()
    expected = torch.tensor([0.6, -0.8, 0.0, 0.0]) if size > 1e-40 else torch.full((4,), 0.5)
    x = size * expected if size > 1e-40 else torch.full((4,), size)
    torch.testing.assert_close(encoding.start(x[None])[0, 0], expected)


def test_a_basis_takes_bits_only():
    encoding = ENCODINGS.find("basis", "encoding")()
    encoding.check(torch.tensor([0.0, 1.0]))
    for wrong in (0.5, -1.0, math.nan):
        with pytest.raises(ProblemError, match=f"^inputs={wrong:g}: 0 or 1 is accepted by encoding=basis$"):
            encoding.check(torch.tensor([0.0, wrong]))
