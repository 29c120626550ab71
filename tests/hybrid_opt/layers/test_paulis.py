"""Noise of rows, on average, against density matrices."""

import pytest
import torch

from hybrid_opt import CircuitLayer
from hybrid_opt.circuits.encodings.registry import ENCODINGS
from tests.oracles.density_matrix import noisy_law

ROWS = 20000


def averaged(layer, x):
    """The mean of all rows with the same inputs, and its standard error."""
    torch.manual_seed(2)
    with torch.no_grad():
        y = layer(x.expand(ROWS, -1))
    return y.mean(0), y.std(0) / ROWS**0.5


@pytest.mark.parametrize("p", [0.02, 0.4])
@pytest.mark.parametrize(
    ("encoding", "ansatz", "entangle"),
    [
        ("angle", "strong", "ring"),
        ("angle", "strong", "none"),
        ("angle_xyz", "brick", "ring"),  # one qubit of three waits in each layer: its run goes on
        ("dense", "ry_cz", "all"),
        ("iqp", "strong", "all"),
        ("amplitude", "brick", "all"),
        ("basis", "ry_cz", "ring"),
    ],
)
def test_rows_are_on_average_the_density_matrix(encoding, ansatz, entangle, p):
    torch.manual_seed(0)
    inputs = ENCODINGS.find(encoding, "encoding")().inputs(3)
    layer = CircuitLayer(inputs, None, 3, 2, encoding, ansatz, entangle, "probabilities", noise=p)
    x = torch.tensor([1.0, 0.0, 1.0]) if encoding == "basis" else torch.randn(inputs)
    mean, error = averaged(layer, x)
    law = torch.tensor(noisy_law(layer.circuit(x), p))
    assert ((mean - law).abs() <= 4.5 * error + 1e-5).all()
    assert (law - torch.tensor(noisy_law(layer.circuit(x), 0.0))).abs().max() > 20 * error.max() or p < 0.1


def test_the_oracle_is_the_density_matrix_of_aer():
    from qiskit import transpile
    from qiskit_aer import AerSimulator
    from qiskit_aer.noise import NoiseModel, depolarizing_error

    torch.manual_seed(0)
    p, layer = 0.1, CircuitLayer(3, None, 3, 2)
    circuit = layer.circuit(torch.randn(3))
    noise = NoiseModel(["u", "cx"])
    noise.add_all_qubit_quantum_error(depolarizing_error(p / 10 * 4 / 3, 1), ["u"])
    noise.add_all_qubit_quantum_error(depolarizing_error(p * 16 / 15, 2), ["cx"])
    merged = transpile(circuit, basis_gates=["u", "cx"], optimization_level=1)
    assert merged.count_ops() == {"u": 6, "cx": 6}
    merged.save_probabilities()
    found = AerSimulator(method="density_matrix", noise_model=noise).run(merged).result().data()["probabilities"]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(noisy_law(circuit, p)), rtol=0, atol=1e-9)


def test_gradients_are_those_of_the_noise_that_was_drawn():
    torch.manual_seed(0)
    layer = CircuitLayer(3, None, 3, 2, "iqp", noise=0.2).double()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    def outputs(x, weights):
        layer.generator = torch.Generator().manual_seed(7)
        return torch.func.functional_call(layer, {"weights": weights}, x)

    assert torch.autograd.gradcheck(outputs, (x, layer.weights))


def test_shots_of_noisy_rows_are_on_average_the_density_matrix():
    torch.manual_seed(0)
    layer = CircuitLayer(2, None, 2, 2, observables="zz", noise=0.2, shots=4)
    x = torch.randn(2)
    mean, error = averaged(layer, x)
    law = torch.tensor(noisy_law(layer.circuit(x), 0.2))
    assert ((mean - law @ layer.plan.parity).abs() <= 4.5 * error + 1e-5).all()


def test_no_noise_is_no_noise():
    layer = CircuitLayer(3, 3, 3, noise=0.0)
    assert layer.paulis is None
