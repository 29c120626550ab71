"""The LSTM (Hochreiter and Schmidhuber 1997), whose gates any approximator may compute.

f, i, o = sigmoid of their gates, g = tanh of its gate
c' = f c + i g
h' = o tanh(c')
"""

from torch import Tensor, nn

from hybrid_opt.layers.config import CircuitConfig
from worldmodel.model.cells.base.gates import Gates
from worldmodel.model.layers import Linear

GATES = 4  # i, f, g, o, as in torch.nn.LSTM
FORGET = 1


class GatedLSTM(nn.Module):
    """One step of an LSTM. Shapes: N rows, I inputs, P units.

    The forget gate has a bias of 1 at first (Jozefowicz et al. 2015), so that the state is kept.
    """

    def __init__(self, inputs: int, units: int, gates: type[Gates], circuit: CircuitConfig) -> None:
        super().__init__()
        self.units, self.gates = units, gates(GATES, units, circuit)
        width, fan_in = GATES * self.gates.width, inputs + units
        self.inputs = Linear(inputs, width, bias=self.gates.shifted, fan_in=fan_in)
        self.state = Linear(units, width, bias=False, fan_in=fan_in)
        nn.init.ones_(self.gates.bias[FORGET])
        if not self.gates.trained:
            self.inputs.requires_grad_(False)
            self.state.requires_grad_(False)

    def drive(self, x: Tensor) -> Tensor:
        """What inputs add to the values of the gates, which does not depend on the state: [..., I] -> [..., W]."""
        y: Tensor = self.inputs(x)
        return y

    def step(self, drive: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The next h and c [N, P] from the drive [N, W] and those before."""
        values = (drive + self.state(h)).unflatten(-1, (GATES, -1))
        i, f, g, o = self.gates(values).to(c.dtype).unbind(1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
