"""The states of a circuit at angles that differ from row to row."""

import math

import torch
from torch import Tensor

from hybrid_opt.circuits.reuploading import Reuploading
from hybrid_opt.layers.operators import evolved
from hybrid_opt.layers.slots import SlotGates, plan_of, slots

AMPLITUDES = 1 << 17  # of all rows that are computed at once


class States:
    """The final states of a circuit, in float64, of any number of layers.

    Shapes: N rows, R angles of the data, W trained angles, n qubits.
    """

    def __init__(self, structure: Reuploading) -> None:
        found = slots(structure.gates, len(structure.data))
        self.structure, self.qubits = structure, structure.qubits
        self._plan = plan_of(found, self.qubits, "probabilities")
        self._gates = SlotGates(found, self.qubits, len(structure.data), len(structure.trained))
        self._places = torch.tensor(structure.trained)

    def __call__(self, weights: Tensor, data: Tensor | None = None) -> Tensor:
        """Return the states, complex [N, 2^n], at weights [N, W] and angles of the data [N, R]. None: all are 0."""
        angles = weights.double()[:, self._places]
        data = angles.new_zeros(len(angles), len(self.structure.data)) if data is None else data.double()
        return evolved(self._plan, self._gates.gates(data, angles), self._gates.phases(data, angles))

    def random(self, rows: int, generator: torch.Generator | None) -> Tensor:
        """Return weights [rows, W], uniform on a full turn."""
        drawn = torch.rand(rows, self.structure.weights, generator=generator, dtype=torch.float64)
        return (2 * drawn - 1) * math.pi

    def parts(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Split rows so that the states of a part, and of its gates, fit into the caches."""
        found: tuple[Tensor, ...] = rows.split(max(1, AMPLITUDES >> self.qubits))
        return found
