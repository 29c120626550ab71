"""CircuitLayer against Qiskit, PennyLane, finite differences and its own promises."""

import pytest
import torch

from hybrid_opt import CircuitLayer


@pytest.mark.parametrize("observables", ["z", "zz", "probabilities"])
def test_a_layer_is_its_circuit(observables):
    from qiskit.quantum_info import Statevector

    torch.manual_seed(0)
    layer = CircuitLayer(3, None, 3, 2, observables=observables).double()
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    found = layer(x)
    assert found.shape == (2, 4, layer.outputs)
    for row, values in zip(x.view(-1, 3), found.view(-1, layer.outputs), strict=True):
        law = torch.tensor(Statevector(layer.circuit(row)).probabilities())
        torch.testing.assert_close(values.detach(), law @ layer.plan.parity, rtol=0, atol=1e-12)
