"""Routers and the mixture of experts: against PennyLane, closed forms, brute force and finite differences."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.config import CircuitConfig
from tests.oracles.pennylane_circuit import probabilities
from tests.worldmodel.model.agents import SIZE
from worldmodel.model.config import HeadsConfig, ModelConfig, RouterOptions
from worldmodel.model.factory import Factory
from worldmodel.model.heads import HEADS
from worldmodel.model.mixture import Mixture
from worldmodel.model.routers import ROUTERS
from worldmodel.model.routers.router import Router

BORN = RouterOptions(readout="probabilities")
CIRCUIT = CircuitConfig(qubits=3, layers=2)


def router(kind: str, experts: int = 4, circuit: CircuitConfig = CIRCUIT, inputs: int = 5, **model: Any) -> Any:
    torch.manual_seed(0)
    return Factory(ModelConfig(router=kind, experts=experts, **model), circuit).router(inputs, 6).double()


@pytest.mark.parametrize("experts", [3, 4])
@pytest.mark.parametrize("kind", sorted({*ROUTERS, *HEADS}))
def test_weights_sum_to_one_with_gradients_of_finite_differences(kind: str, experts: int) -> None:
    made, x = router(kind, experts), torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    weights = made(x)
    assert weights.shape == (2, 3, experts) and (weights > 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, dtype=torch.float64))
    tolerances = {"eps": 1e-3, "atol": 1e-3} if kind in ("mlp", "narrow") else {}  # their norms are in float32
    assert torch.autograd.gradcheck(made, (x,), **tolerances)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["circuit", "product"])
def test_weights_by_borns_rule(kind: str) -> None:
    """Oracle: PennyLane's probabilities, those of the third qubit summed."""
    made, x = router(kind, router_options=BORN), torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    own = dict(made.named_parameters())
    for row, found in zip(x, made(x), strict=True):
        angles = torch.atan(own["angles.front.map.weight"] @ row + own["angles.front.map.bias"])
        law = probabilities(made.angles.body.circuit(angles.detach()))
        np.testing.assert_allclose(found.detach(), [law[i] + law[i + 4] for i in range(4)], atol=1e-9)
    assert torch.autograd.gradcheck(made, (x,))


def test_two_qubits_span_nine_waves() -> None:
    """Closed form: RX encodes once, so the mean of Z is a sum of products of 1, cos and sin of both inputs."""
    circuit = CircuitConfig(qubits=2, layers=1)
    made = router("circuit", 2, circuit, 2, front="none")
    x = torch.rand(40, 2, dtype=torch.float64) * math.pi
    scaled = (x * made.head.angles.body.scale).detach().numpy()
    one = np.ones(40)
    waves = [np.stack([one, np.cos(column), np.sin(column)]) for column in scaled.T]
    features = np.einsum("in,jn->nij", *waves).reshape(40, 9)
    means = made.head.angles(x).detach().numpy()
    rest = np.linalg.lstsq(features, means, rcond=None)[1]
    assert (rest < 1e-20).all() and np.linalg.matrix_rank(features) == 9


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ({"router": "circuit", "experts": 3, "router_options": BORN}, r"model.experts=3: a power of two up to 2\^circ"),
        ({"router": "circuit", "experts": 16, "router_options": BORN}, r"model.experts=16: .*qubits=8 is accepted"),
        (
            {"router": "mlp", "router_options": BORN},
            r"readout=probabilities: softmax is accepted with model.router=mlp",
        ),
        ({"router": "circuits"}, r"model.router=circuits: no such head; did you mean circuit\?"),
        ({"router": "linear", "heads": HeadsConfig(prior="circuit")}, r"model.heads.prior=circuit: mlp is accepted"),
        ({"router": "linear", "expert": "gru"}, r"model.expert=gru: no such head"),
        ({"front": "svd"}, r"model.front=svd: no such front \(accepted: autoencoder, linear, none, pca\)"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(model: dict[str, Any], line: str) -> None:
    with pytest.raises(ProblemError, match=line):
        Factory(ModelConfig(**model), CIRCUIT).check()


def mixture(**model: Any) -> tuple[Any, torch.Tensor]:
    """A prior of experts, and states [4, 16] that it takes."""
    torch.manual_seed(0)
    return Factory(ModelConfig(**{"router": "mlp", **model}), CIRCUIT).prior(SIZE), torch.randn(4, 16)


@pytest.mark.parametrize("expert", ["mlp", "circuit", "product"])
def test_probabilities_are_mixed(expert: str) -> None:
    """Oracle: the weighted sum of the experts' distributions, in a loop."""
    made, x = mixture(expert=expert)
    weights = made.router(x)
    mixed = sum(
        weights[:, i, None, None] * one(x).unflatten(-1, (SIZE.classes, SIZE.stoch)).softmax(-2)
        for i, one in enumerate(made.experts)
    )
    found = made(x).unflatten(-1, (SIZE.classes, SIZE.stoch)).exp()
    torch.testing.assert_close(found, mixed)
    torch.testing.assert_close(found.sum(-2), torch.ones(4, SIZE.stoch))


def test_gradients_of_a_mixture() -> None:
    made, x = mixture(experts=2)
    assert torch.autograd.gradcheck(
        lambda y: made.double()(y), x.double().requires_grad_(), eps=1e-3, atol=1e-3
    )  # norms are in float32


class Given(Router):
    """Weights that are the input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_load_balance_entropy_and_dead_experts() -> None:
    """By hand: f = (2/3, 0, 1/3), P = (.5, .2, .3)."""
    weights = torch.tensor([[0.8, 0.1, 0.1], [0.6, 0.4, 0.0], [0.1, 0.1, 0.8]])
    losses, metrics = Mixture(Given(), [], 2, 0.5).auxiliary(weights)
    assert losses["balance"].item() == pytest.approx(0.5 * 3 * (2 / 3 * 0.5 + 1 / 3 * 0.3))
    assert metrics["dead_experts"] == 1
    entropy = -np.mean([sum(p * math.log(p) for p in row if p > 0) for row in weights.tolist()])
    assert metrics["routing_entropy"].item() == pytest.approx(entropy)
    even = Mixture(Given(), [], 2, 1.0).auxiliary(torch.eye(3))[1]["balance"]
    assert even == pytest.approx(1.0)  # the least that there is


def test_a_weight_of_zero_gives_a_finite_gradient() -> None:
    made, _ = mixture(experts=2)
    made.router = Given()
    weights = torch.tensor([[1.0, 0.0]]).requires_grad_()
    made.experts = torch.nn.ModuleList([torch.nn.Linear(2, 12), torch.nn.Linear(2, 12)])
    made(weights).sum().backward()
    assert weights.grad is not None and weights.grad.isfinite().all()
