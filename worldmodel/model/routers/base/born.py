"""A router by Born's rule: the weight of an expert is the probability of a basis state (arXiv 2512.22296)."""

from dataclasses import replace

from torch import Tensor

from hybrid_opt.layers.config import CircuitConfig
from worldmodel.model.circuits import circuit_layer
from worldmodel.model.fronts.front import MakeFront
from worldmodel.model.heads.base.readout import Angles
from worldmodel.model.routers.router import Router


class BornRouter(Router):
    """The weight of expert i is the chance to read i from the first log2(experts) qubits of a circuit."""

    def __init__(self, inputs: int, experts: int, circuit: CircuitConfig, front: MakeFront) -> None:
        super().__init__()
        self.experts = experts
        self.angles = Angles(inputs, circuit_layer(replace(circuit, observables="probabilities")), front)
        self.observes = self.angles.observes

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.angles(x)  # [..., 2^n], whose last qubits are the slow axis
        weights: Tensor = states.unflatten(-1, (-1, self.experts)).sum(-2)
        return weights

    def auxiliary(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return self.angles.auxiliary(x)

    def refit(self, x: Tensor) -> None:
        self.angles.refit(x)
