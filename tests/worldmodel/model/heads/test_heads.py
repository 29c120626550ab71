"""Heads with circuits and their twins: against PennyLane, plain formulas and finite differences."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call

from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.config import CircuitConfig
from tests.oracles.pennylane_circuit import means
from worldmodel.model.config import HeadsConfig, ModelConfig
from worldmodel.model.factory import Factory
from worldmodel.model.heads import HEADS

CIRCUIT = CircuitConfig(qubits=3, layers=2)
KINDS = sorted(set(HEADS))
ANGULAR = ("circuit", "product", "frozen", "fourier")


def head(kind: str, circuit: CircuitConfig = CIRCUIT, scale: float = 1.0, **model: Any) -> Any:
    """A head of four inputs and two outputs in float64, away from its first values."""
    torch.manual_seed(0)
    parts = Factory(ModelConfig(heads=HeadsConfig(actor=kind), **model), circuit)
    made = parts.head("actor", 4, 5, 2, 2, scale).double()
    for name, parameter in made.named_parameters():
        if scale and name.endswith(("gain.weight", "bias")):
            torch.nn.init.normal_(parameter)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    made = head(kind)
    names = [name for name, parameter in made.named_parameters() if parameter.requires_grad]
    values = [dict(made.named_parameters())[name].detach().clone().requires_grad_() for name in names]
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)

    def outputs(x: torch.Tensor, *given: torch.Tensor) -> Any:
        return functional_call(made, dict(zip(names, given, strict=True)), (x,))

    tolerances = {"eps": 1e-3, "atol": 1e-3} if kind in ("mlp", "narrow") else {}  # their norms are in float32
    assert torch.autograd.gradcheck(outputs, (x, *values), **tolerances)


@pytest.mark.slow
@pytest.mark.parametrize("front", ["linear", "none"])
@pytest.mark.parametrize("kind", ["circuit", "product", "frozen"])
def test_circuits_are_read_out_as_pennylane_reads_them(kind: str, front: str) -> None:
    """Oracle: the front by hand, PennyLane's means of the layer's own circuit, the read-out by hand."""
    made = head(kind, front=front)
    own, x = dict(made.named_parameters()), torch.randn(2, 3, 4, dtype=torch.float64)
    for row, found in zip(x.view(-1, 4), made(x).view(-1, 2).detach(), strict=True):
        if front == "linear":
            angles = torch.atan(own["angles.front.map.weight"] @ row + own["angles.front.map.bias"])
        else:
            angles = row[:3]
        circuit = made.angles.body.circuit(angles.detach())
        expected = own["out.weight"] @ (own["gain.weight"] * torch.tensor(means(circuit))) + own["out.bias"]
        torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-9)
        entangled = any(step.operation.name == "cx" for step in circuit.data)
        assert entangled == (kind != "product")


def test_fourier_features_are_waves_of_affine_angles() -> None:
    made = head("fourier")
    own, x = {name: value.detach().numpy() for name, value in made.named_parameters()}, np.linspace(-2, 2, 4)
    angles = np.arctan(own["angles.front.map.weight"] @ x + own["angles.front.map.bias"])
    waves = (own["angles.body.scale"] * angles + own["angles.body.shift"]).ravel()
    features = np.concatenate([np.cos(waves), np.sin(waves)]) * own["gain.weight"]
    expected = own["out.weight"] @ features + own["out.bias"]
    np.testing.assert_allclose(made(torch.tensor(x)).detach(), expected, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_start_at_zero_where_those_of_the_mlp_do(kind: str) -> None:
    assert not head(kind, scale=0.0)(torch.randn(3, 4, dtype=torch.float64)).any()


def test_the_narrow_mlp_has_as_many_parameters_as_the_circuit() -> None:
    sizes = {kind: sum(p.numel() for p in head(kind).parameters()) for kind in ("narrow", "circuit")}
    assert 0 <= sizes["narrow"] - sizes["circuit"] < 4 + 2 + 2  # less than another unit would bring


def test_only_the_readout_of_a_frozen_head_is_trained() -> None:
    trained = {name for name, p in head("frozen").named_parameters() if p.requires_grad}
    assert trained == {"gain.weight", "out.weight", "out.bias"}


@pytest.mark.parametrize("kind", ANGULAR)
@pytest.mark.parametrize("encoding", ["angle_xyz", "basis", "amplitude", "iqp", "dense"])
def test_every_encoding_takes_what_the_front_gives(kind: str, encoding: str) -> None:
    made = head(kind, CircuitConfig(qubits=2, layers=2, encoding=encoding))
    outputs = made(100 * torch.randn(5, 4, dtype=torch.float64))
    assert outputs.shape == (5, 2) and outputs.isfinite().all()


def test_no_front_needs_inputs_for_the_encoding() -> None:
    with pytest.raises(ProblemError, match=r"model.front=none: takes 9 numbers for the circuit from 4; linear is acc"):
        head("circuit", CircuitConfig(qubits=3, encoding="angle_xyz"), front="none")
