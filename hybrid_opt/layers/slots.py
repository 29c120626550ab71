"""A list of gates as a plan, and the gates of its slots from angles."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hybrid_opt.circuits.gate import Gate
from hybrid_opt.layers.constants import beside
from hybrid_opt.layers.plan import Plan, Readout

# (a, b, c, d) stands for aI + ibZ - icY + idX. Multiplied by -iP from the right, its component k comes from
# SOURCE[P, k], with the sign RIGHT[P, k]. P is 0 to 3 for I (where -i is left out), X, Y, Z.
SOURCE = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1], [1, 0, 3, 2]])
RIGHT = torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1], [-1, 1, 1, -1], [1, -1, 1, -1]], dtype=torch.float64)
AXES = {"rx": 1, "flip": 1, "ry": 2, "rz": 3}
CONSTANTS = (0.0, math.pi / 2, math.pi)  # angles at places -1, -2, -3
FIXED = torch.tensor(CONSTANTS, dtype=torch.float64)
HADAMARD = ((2, -2), (1, -3))  # RY(pi/2), then RX(pi)
Chains = dict[int, list[tuple[int, int]]]  # of each qubit: axes and angles of rotations, in order


@dataclass
class Slot:
    """Phases, then rotations of each qubit by the data, then trained ones, then entanglers."""

    phases: list[Gate] = field(default_factory=list)
    data: Chains = field(default_factory=dict)
    trained: Chains = field(default_factory=dict)
    pairs: list[Gate] = field(default_factory=list)

    @property
    def bare(self) -> bool:
        """Whether it has nothing but phases."""
        return not (self.data or self.trained or self.pairs)

    def takes(self, qubit: int, of_data: bool) -> bool:
        """Whether a rotation can still be added. It may pass entanglers of other qubits."""
        return not any(qubit in pair.qubits for pair in self.pairs) and not (of_data and qubit in self.trained)


def slots(gates: Sequence[Gate], data: int) -> list[Slot]:
    """Sort gates into slots, as few as their order allows. Angles below `data` are those of the data."""
    found = [Slot()]
    for gate in gates:
        last, of_data = found[-1], 0 <= gate.angle < data
        if gate.name == "rzz" or (gate.name == "rz" and of_data and last.phases and last.bare):
            if not last.bare:
                found.append(Slot())
            found[-1].phases.append(gate)
        elif len(gate.qubits) == 2:
            last.pairs.append(gate)
        else:
            if not last.takes(gate.qubits[0], of_data):
                found.append(Slot())
            chain = (found[-1].data if of_data else found[-1].trained).setdefault(gate.qubits[0], [])
            chain += HADAMARD if gate.name == "h" else [(AXES[gate.name], gate.angle)]
    return found


def plan_of(found: Sequence[Slot], qubits: int, readout: Readout) -> Plan:
    """Return the plan of slots."""
    states = torch.arange(1 << qubits)
    source, sign = states.repeat(len(found), 1), torch.ones(len(found), 1 << qubits, dtype=torch.float64)
    for s, slot in enumerate(found):
        for gate in slot.pairs:
            first, second = ((states >> q) & 1 for q in gate.qubits)
            if gate.name == "cz":
                sign[s] *= 1 - 2 * (first & second)
            else:
                moved = states ^ (first << gate.qubits[1])
                source[s], sign[s] = source[s, moved], sign[s, moved]
    return Plan(qubits, source, sign, tuple(s for s, slot in enumerate(found) if slot.phases), readout)


class SlotGates(nn.Module):
    """The gates and phases of slots as functions of angles. It has no parameters, but indices that move with `to`.

    Angles of the data are [N, R]; those that are trained are [W], or [N, W] where rows have their own.
    """

    data_place: Tensor
    data_source: Tensor
    trained_place: Tensor
    trained_source: Tensor
    phase_place: Tensor
    phase_table: Tensor

    def __init__(self, found: Sequence[Slot], qubits: int, data: int, trained: int) -> None:
        super().__init__()
        self.slots, self.qubits = len(found), qubits
        self._index_chains("data", [slot.data for slot in found], data, 0)
        self._index_chains("trained", [slot.trained for slot in found], trained, data)
        self._index_phases([slot.phases for slot in found if slot.phases], data + trained)
        self.phases_in_order = self.phase_place.flatten().tolist() == list(range(data))  # all angles of the data

    def gates(self, data: Tensor, trained: Tensor) -> Tensor:
        """Return [N, S, n, 4], as `means` takes them.

        Rotations are multiplied from the last to the first: the trained ones, which rows may share, come first.
        """
        gates = torch.zeros(self.slots, self.qubits, 4, dtype=data.dtype, device=data.device)
        gates[..., 0] = 1.0
        gates = self._turned(self._turned(gates, trained, "trained"), data, "data")
        return gates.expand(len(data), -1, -1, -1)

    def phases(self, data: Tensor, trained: Tensor, signs: Tensor | None = None) -> Tensor | None:
        """Return [N, P, 2^n], or None where no slot has phases. signs: of the angles, [N, P, A]."""
        if not len(self.phase_place):
            return None
        if self.phases_in_order:
            angles = data.unflatten(1, self.phase_place.shape)
        else:
            angles = _with_constants(torch.cat([data, trained.expand(len(data), -1)], 1))[:, self.phase_place]
        angles, table = angles if signs is None else angles * signs, self.phase_table.to(angles)
        return angles @ table[0] if len(table) == 1 else torch.einsum("npa,pak->npk", angles, table)

    def _index_chains(self, name: str, found: Sequence[Chains], count: int, first: int) -> None:
        """Index rotations: place of the angle, source and sign of the product's components, [D, S, n, ...]."""
        depth = max((len(chain) for slot in found for chain in slot.values()), default=0)
        place = torch.full((depth, self.slots, self.qubits), count)
        axis = torch.zeros(depth, self.slots, self.qubits, dtype=torch.int64)
        for s, slot in enumerate(found):
            for q, chain in slot.items():
                for d, (kind, angle) in enumerate(chain):
                    axis[d, s, q] = kind
                    place[d, s, q] = angle - first if angle >= 0 else count - 1 - angle
        self.register_buffer(f"{name}_place", place, persistent=False)
        self.register_buffer(f"{name}_source", SOURCE[axis], persistent=False)
        self.register_buffer(f"{name}_sign", RIGHT[axis], persistent=False)

    def _index_phases(self, found: Sequence[list[Gate]], count: int) -> None:
        """Index phases: place of each angle [P, A], and what it adds to each state's phase, [P or 1, A, 2^n]."""
        most = max(map(len, found), default=0)
        place = torch.full((len(found), most), count)
        table = torch.zeros(len(found), most, 1 << self.qubits, dtype=torch.float64)
        z = 1.0 - 2.0 * ((torch.arange(1 << self.qubits)[:, None] >> torch.arange(self.qubits)) & 1)  # [2^n, n]
        for p, phases in enumerate(found):
            for a, gate in enumerate(phases):
                place[p, a] = gate.angle
                table[p, a] = -z[:, list(gate.qubits)].prod(1) / 2
        if len(table) and (table == table[0]).all():
            table = table[:1]
        self.register_buffer("phase_place", place, persistent=False)
        self.register_buffer("phase_table", table, persistent=False)

    def _turned(self, gates: Tensor, angles: Tensor, name: str) -> Tensor:
        """Put rotations by angles [..., count] in front of gates [..., S, n, 4]."""
        place, source, sign = (getattr(self, f"{name}_{part}") for part in ("place", "source", "sign"))
        half = _with_constants(angles) / 2
        cos, sin = half.cos(), half.sin()
        for d in reversed(range(len(place))):
            across = gates.gather(-1, source[d].expand(gates.shape)) * sign[d].to(gates)
            gates = cos[..., place[d], None] * gates + sin[..., place[d], None] * across
        return gates


def _with_constants(angles: Tensor) -> Tensor:
    return torch.cat([angles, beside(FIXED, angles).expand(*angles.shape[:-1], -1)], -1)
