"""Gated cells as sequence modules for a network of your own.

lstm = LSTM(inputs=3, units=16, gates="circuit")
outputs, (h, c) = lstm(x)  # x [T, N, 3] -> [T, N, 16], [N, 16], [N, 16]
"""

import torch
from torch import Tensor, nn

from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.config import CircuitConfig
from worldmodel.model.cells import CELLS
from worldmodel.model.cells.base.gate_cell import CIRCUIT
from worldmodel.model.cells.base.gates import Gates
from worldmodel.model.cells.base.lstm import GatedLSTM

States = tuple[Tensor, Tensor]


def gates_of(cell: str, key: str) -> type[Gates]:
    """Return the gates of a cell. Raise ProblemError, with the key, for a cell without gates of its own, as gru."""
    gates: type[Gates] | None = getattr(CELLS.find(cell, key), "gates", None)
    if gates is None:
        raise ProblemError(f"{key}={cell}: a cell that names its gates is accepted, such as circuit or lstm")
    return gates


class LSTM(nn.Module):
    """An LSTM with the gates of a cell, used as torch.nn.LSTM is: one layer, one direction.

    Shapes: T steps, N rows, I inputs, P units.
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        gates: str = "circuit",
        circuit: CircuitConfig = CIRCUIT,
        batch_first: bool = False,
    ) -> None:
        """Make a module with trainable gates.

        Args:
            gates: those of a cell: lstm, mlp, circuit, product, frozen, fourier, or a cell of yours as module:Class.
            circuit: its qubits are also the width of the twins' hidden layers.
            batch_first: whether x and outputs are [N, T, ...] instead of [T, N, ...].

        Raises ProblemError for a cell without such gates.
        """
        super().__init__()
        self.units, self.batch_first = units, batch_first
        self.cell = GatedLSTM(inputs, units, gates_of(gates, "gates"), circuit)

    def forward(self, x: Tensor, state: States | None = None) -> tuple[Tensor, States]:
        """Return the outputs h [T, N, P] of all steps, and the last h and c, each [N, P].

        Args: x [T, N, I]; state, h and c [N, P] before the first step. None: zeros.
        """
        drives = self.cell.drive(x.transpose(0, 1) if self.batch_first else x)  # [T, N, W]
        if state is None:
            zeros = drives.new_zeros(drives.shape[1], self.units)
            state = zeros, zeros
        outputs = []
        for drive in drives:
            state = self.cell.step(drive, *state)
            outputs.append(state[0])
        return torch.stack(outputs, 1 if self.batch_first else 0), state
