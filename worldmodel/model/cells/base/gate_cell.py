"""A cell of the RSSM whose gates an approximator computes: an LSTM, or the block GRU."""

from typing import Literal

import torch
from torch import Tensor, nn

from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.config import CircuitConfig
from worldmodel.model.cells.base.gates import Gates
from worldmodel.model.cells.base.lstm import GatedLSTM
from worldmodel.model.cells.cell import Cell
from worldmodel.model.cells.gru import BlockGRU
from worldmodel.model.layers import BlockLinear, Linear, NormAct
from worldmodel.model.size import ModelSize

Base = Literal["lstm", "gru"]
CIRCUIT = CircuitConfig()


class GateCell(Cell):
    """What cells share that differ in their gates alone: a kind of cells names its `gates`.

    Both recurrences keep the contract: their whole state is deter.
    """

    gates: type[Gates]

    def __init__(self, size: ModelSize, action: int, circuit: CircuitConfig = CIRCUIT, base: Base = "lstm") -> None:
        super().__init__()
        given = (size, action, self.gates, circuit)
        self.base: LSTMBase | GRUBase = LSTMBase(*given) if base == "lstm" else GRUBase(*given)

    def step(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        return self.base.step(deter, stoch, action)


class LSTMBase(nn.Module):
    """An LSTM. Its h and c lie side by side in deter, each of D / 2 units: the heads see both."""

    def __init__(self, size: ModelSize, action: int, gates: type[Gates], circuit: CircuitConfig) -> None:
        super().__init__()
        if size.deter % 2:
            raise ProblemError(f"size.deter={size.deter}: an even number is accepted, half for each state of an LSTM")
        hidden = size.hidden
        self.stoch_in = nn.Sequential(Linear(size.stoch * size.classes, hidden), NormAct(hidden))
        self.action_in = nn.Sequential(Linear(action, hidden), NormAct(hidden))
        self.lstm = GatedLSTM(2 * hidden, size.deter // 2, gates, circuit)

    def step(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """As `Cell.step`."""
        inputs = torch.cat([self.stoch_in(stoch), self.action_in(action)], -1)
        return torch.cat(self.lstm.step(self.lstm.drive(inputs), *deter.chunk(2, -1)), -1)


class GRUBase(BlockGRU):
    """The block GRU with an approximator for the gates of each block: N rows of G blocks are N G rows of it."""

    compiled = False

    def __init__(self, size: ModelSize, action: int, gates: type[Gates], circuit: CircuitConfig) -> None:
        super().__init__(size, action)
        units = size.deter // size.blocks
        del self.gates  # an approximator takes their place
        self.approximator = gates(size.blocks, 3 * units, circuit)
        self.gates_in = BlockLinear(size.blocks, units, self.approximator.width, bias=self.approximator.shifted)
        nn.init.constant_(self.approximator.bias[..., -units:], -1.0)  # the state is kept at first
        if not self.approximator.trained:
            self.gates_in.requires_grad_(False)

    def step(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """As `Cell.step`."""
        inputs = [self.deter_norm(self.deter_in(deter)), self.stoch_norm(self.stoch_in(stoch))]
        joint = self.drive(action) + self.mix_state(torch.cat(inputs, -1)) + self.mix_deter(deter).flatten(1)
        values = self.gates_in(self.mix_norm(joint))  # [N, G, width]
        reset, raw, update = self.approximator(values).to(deter.dtype).chunk(3, -1)  # [N, G, P] each
        candidate = (reset.sigmoid() * raw).tanh()
        return torch.lerp(deter.unflatten(-1, candidate.shape[1:]), candidate, update.sigmoid()).flatten(1)
