"""Gates of a recurrent cell: one call of an approximator computes all of them.

Each gate has linear maps of its own before and after the approximator, through which the rows of all gates go together.

Shapes: N rows, G gates, n values of each gate, P units.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from hybrid_opt.layers.config import CircuitConfig
from worldmodel.model.circuits import circuit_layer
from worldmodel.model.layers import BlockLinear


class Gates(nn.Module):
    """Gates before their sigmoid or tanh: forward [N, G, width] -> [N, G, P].

    It is made by `Gates(gates, units, circuit)`. What it takes is a linear map of inputs and state, which the cell has.
    """

    width: int  # values of each gate that it takes
    shifted = True  # whether the linear map before it has a bias
    trained = True  # whether the linear map before it is trained

    @property
    def bias(self) -> Tensor:
        """The bias of each gate, [G, 1, P]."""
        raise NotImplementedError


class LinearGates(Gates):
    """No approximator: the linear map gives the gates, as in an LSTM."""

    shifted = False

    def __init__(self, gates: int, units: int, circuit: CircuitConfig) -> None:
        super().__init__()
        self.width, self.shift = units, nn.Parameter(torch.zeros(gates, 1, units))

    @property
    def bias(self) -> Tensor:
        return self.shift

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift.squeeze(1)


class Approximator(Gates):
    """Features of the values, and a linear map of each gate's features."""

    def __init__(self, gates: int, units: int, width: int, features: int) -> None:
        super().__init__()
        self.width, self.out = width, BlockLinear(gates, features, units)

    @property
    def bias(self) -> Tensor:
        assert self.out.bias is not None
        return self.out.bias

    def features(self, x: Tensor) -> Tensor:
        """[N, G, width] -> [N, G, features]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.features(x).flatten(1))
        return y


class MLPGates(Approximator):
    """One hidden layer of tanh, as wide as the circuit has qubits: the twin of equal size."""

    def __init__(self, gates: int, units: int, circuit: CircuitConfig) -> None:
        super().__init__(gates, units, circuit.qubits, circuit.qubits)

    def features(self, x: Tensor) -> Tensor:
        return x.tanh()


class FourierGates(Approximator):
    """Cosine and sine of the angles that a circuit would encode."""

    def __init__(self, gates: int, units: int, circuit: CircuitConfig) -> None:
        super().__init__(gates, units, circuit.qubits, 2 * circuit.qubits)

    def features(self, x: Tensor) -> Tensor:
        return torch.cat([x.cos(), x.sin()], -1)


class CircuitGates(Approximator):
    """Expectations of a circuit, whose angles the gates share, times a learned scale of each gate.

    Expectations lie within [-1, 1], of which a sigmoid would make [0.27, 0.73]: the scale lets gates open and close.
    """

    angular = True  # the scale learns at the rate of angles

    def __init__(self, gates: int, units: int, circuit: CircuitConfig) -> None:
        layer = circuit_layer(circuit)
        super().__init__(gates, units, layer.inputs, layer.outputs)
        self.circuit, self.scale = layer, nn.Parameter(torch.ones(gates, 1))

    def features(self, x: Tensor) -> Tensor:
        expectations: Tensor = self.circuit(x)
        return expectations * self.scale


class ProductGates(CircuitGates):
    """The same circuit without entanglers."""

    def __init__(self, gates: int, units: int, circuit: CircuitConfig) -> None:
        super().__init__(gates, units, replace(circuit, entangle="none"))


class FrozenGates(CircuitGates):
    """The same circuit with random angles of random maps: what comes after it is all that is trained."""

    trained = False

    def __init__(self, gates: int, units: int, circuit: CircuitConfig) -> None:
        super().__init__(gates, units, circuit)
        self.circuit.requires_grad_(False)
