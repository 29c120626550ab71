"""Gates of a recurrent cell: one call of an approximator computes all of them.

Each gate has linear maps of its own before and after the approximator, through which the rows of all gates go together.

Shapes: N rows, G gates, n values of each gate, P units.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hybrid_opt.layers.config import CircuitConfig
from worldmodel.model.circuits import circuit_layer
from worldmodel.model.heads.fourier import Fourier
from worldmodel.model.layers import BlockLinear, Scale


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
    """No approximator: the linear map gives the gates."""

    shifted = False

    def __init__(self, gates: int, units: int, circuit: CircuitConfig) -> None:
        super().__init__()
        self.width, self.shift = units, nn.Parameter(torch.zeros(gates, 1, units))

    @property
    def bias(self) -> Tensor:
        return self.shift

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift.squeeze(1)


class ReadGates(Gates):
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


class MLPGates(ReadGates):
    """One hidden layer of tanh with as many units as the circuit has qubits."""

    def __init__(self, gates: int, units: int, circuit: CircuitConfig) -> None:
        super().__init__(gates, units, circuit.qubits, circuit.qubits)

    def features(self, x: Tensor) -> Tensor:
        return x.tanh()


class AngleGates(ReadGates):
    """A body of angles, which all gates share, and a learned scale of what it gives.

    Expectations lie within [-1, 1], of which a sigmoid would make [0.27, 0.73]: the scale lets gates open and close.
    """

    def __init__(self, gates: int, units: int, body: Any) -> None:
        """body: a module with `inputs`, `outputs`, and the `encoding` that its inputs must suit."""
        super().__init__(gates, units, body.inputs, body.outputs)
        self.body, self.gain = body, Scale(body.outputs)

    def features(self, x: Tensor) -> Tensor:
        y: Tensor = self.gain(self.body(self.body.encoding.fit(x)))
        return y


class CircuitGates(AngleGates):
    """Expectations of a circuit."""

    def __init__(self, gates: int, units: int, circuit: CircuitConfig) -> None:
        super().__init__(gates, units, circuit_layer(circuit))


class ProductGates(AngleGates):
    """Those of the circuit without entanglers."""

    def __init__(self, gates: int, units: int, circuit: CircuitConfig) -> None:
        super().__init__(gates, units, circuit_layer(replace(circuit, entangle="none")))


class FrozenGates(AngleGates):
    """Those of a random circuit of random maps: what comes after it is all that is trained."""

    trained = False

    def __init__(self, gates: int, units: int, circuit: CircuitConfig) -> None:
        super().__init__(gates, units, circuit_layer(circuit))
        self.body.requires_grad_(False)


class FourierGates(AngleGates):
    """Cosine and sine of angles, of as many frequencies as the circuit encodes."""

    def __init__(self, gates: int, units: int, circuit: CircuitConfig) -> None:
        super().__init__(gates, units, Fourier(circuit))
