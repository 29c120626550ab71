"""Noise as random Paulis, which are multiplied into the gates of each row."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hybrid_opt.backends.noise import Noise
from hybrid_opt.circuits.gate import Gate
from hybrid_opt.layers.constants import beside
from hybrid_opt.layers.slots import RIGHT, SOURCE, Slot

# With -iP from the left, component k comes from SOURCE[P, k] too, with the sign LEFT[P, k].
LEFT = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [-1, -1, 1, 1], [1, -1, -1, 1]], dtype=torch.float64)
CODE = torch.tensor([0, 1, 3, 2])  # of bits x + 2 z: I, X, Z, Y among I, X, Y, Z
Bits = NDArray[np.uint8]


class _Place(NamedTuple):
    """Where an error happens: on these qubits in a slot, after phase `phase`, or after the gates and `pairs` pairs."""

    qubits: tuple[int, ...]
    slot: int
    phase: int = -1
    pairs: int = 0


class Paulis(nn.Module):
    """Pauli errors after each two-qubit gate, and after each run of gates on one qubit, with the chances of a model.

    An error moves to the nearest gates of its slot, which turns it into another Pauli: all of that is one matrix of
    bits. Each row draws its own errors. So the outputs of a row are those of one random run of the noisy circuit, and
    their average is that of its density matrix, if the model is a mixture of Paulis. Else it is that of its twirl.
    """

    chance: Tensor
    kinds: Tensor
    error: Tensor
    bit: Tensor
    effect: Tensor
    kind: Tensor
    cumulated: Tensor

    def __init__(self, found: Sequence[Slot], qubits: int, noise: Noise) -> None:
        super().__init__()
        phased = [len(slot.phases) for slot in found if slot.phases]
        self.shape = len(found), qubits
        self.phases = len(phased), max(phased, default=0)
        places = list(_places(found))
        kinds = [len(place.qubits) for place in places]
        laws = [noise.paulis(1), noise.paulis(2)]
        chance = torch.tensor([1 - laws[kind - 1][0] for kind in kinds])
        effect = np.concatenate([self._effects(found, place) for place in places])  # [bits of errors, bits]
        bits = np.concatenate([4 * error + np.arange(2 * kind) for error, kind in enumerate(kinds)])
        self.register_buffer("chance", chance, persistent=False)
        # which of the 15 or 3 Paulis: chances of those before, where they are not equally likely
        self.uniform = all(np.ptp(law[1:]) <= 1e-12 for law in laws)
        cumulated = np.ones((2, 15))
        for row, law in zip(cumulated, laws, strict=True):
            row[: len(law) - 1] = law[1:].cumsum() / max(law[1:].sum(), 1e-300)
        self.register_buffer("cumulated", torch.from_numpy(cumulated).float(), persistent=False)
        self.register_buffer("kind", torch.tensor(kinds) - 1, persistent=False)
        self.register_buffer("kinds", torch.tensor([15.0 if kind == 2 else 3.0 for kind in kinds]), persistent=False)
        self.register_buffer("error", torch.from_numpy(bits // 4), persistent=False)
        self.register_buffer("bit", torch.from_numpy(bits % 4), persistent=False)
        self.register_buffer("effect", torch.from_numpy(effect).float(), persistent=False)

    def forward(
        self, rows: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """Draw errors of rows: Paulis before and after the gates, int64 [N, S, n], and signs of phases, [N, P, A].

        Without phases there are none before the gates, and no signs.
        """
        drawn = torch.rand(rows, len(self.chance), generator=generator, device=self.chance.device)
        which = torch.where(drawn < self.chance, 1 + self._number(drawn / self.chance), 0)  # [N, E], 0: none
        bits = (which.index_select(1, self.error) >> self.bit) & 1
        flips = (bits.to(self.effect) @ self.effect).remainder(2)
        size = 2 * self.shape[0] * self.shape[1]
        after = _paulis(flips[:, :size].unflatten(1, (*self.shape, 2)))
        if not self.phases[0]:
            return None, after, None
        before = _paulis(flips[:, size : 2 * size].unflatten(1, (*self.shape, 2)))
        return before, after, 1 - 2 * flips[:, 2 * size :].unflatten(1, self.phases)

    def _number(self, share: Tensor) -> Tensor:
        """Which Pauli an error is, from 0, int [N, E]; share: uniform numbers from 0 to 1, [N, E]."""
        if self.uniform:
            return (share * self.kinds).int()
        share = share.clamp(max=1.0)  # what is beyond is no error
        found = [torch.searchsorted(row, share.contiguous(), right=True, out_int32=True) for row in self.cumulated]
        return torch.where(self.kind == 1, found[1], found[0])

    def _effects(self, found: Sequence[Slot], place: _Place) -> Bits:
        """What each bit of an error (x, z of its qubits) does: to Paulis after and before gates, and to signs."""
        rows = list[Bits]()
        for qubit in place.qubits:
            for part in (0, 1):
                before, after = np.zeros((2, *self.shape, 2), np.uint8)
                signs = np.zeros(self.phases, np.uint8)
                slot = found[place.slot]
                if place.phase >= 0:
                    before[place.slot, qubit, part] = 1
                    phased = sum(bool(earlier.phases) for earlier in found[: place.slot])
                    for a, gate in enumerate(slot.phases):
                        signs[phased, a] = a > place.phase and part == 0 and qubit in gate.qubits
                else:
                    after[place.slot, qubit, part] = 1
                    for pair in reversed(slot.pairs[: place.pairs]):
                        _pull(after[place.slot], pair)
                parts = [after, before, signs] if self.phases[0] else [after]
                rows.append(np.concatenate([part.ravel() for part in parts]))
        return np.stack(rows)


def with_errors(gates: Tensor, before: Tensor | None, after: Tensor) -> Tensor:
    """Multiply Paulis int64 [N, S, n] into gates [N, S, n, 4], up to phases of the whole state."""
    source, right, left = beside(SOURCE, gates), beside(RIGHT, gates), beside(LEFT, gates)
    if before is not None:
        gates = gates.gather(-1, source[before]) * right[before]
    return gates.gather(-1, source[after]) * left[after]


def _paulis(bits: Tensor) -> Tensor:
    """Paulis from bits x and z [..., 2]."""
    return beside(CODE, bits)[(bits[..., 0] + 2 * bits[..., 1]).long()]


def _pull(bits: Bits, pair: Gate) -> None:
    """Replace the Pauli of bits [n, 2] after a gate by the one before it that does the same."""
    a, b = pair.qubits
    if pair.name == "cz":
        bits[a, 1] ^= bits[b, 0]
        bits[b, 1] ^= bits[a, 0]
    else:
        bits[b, 0] ^= bits[a, 0]
        bits[a, 1] ^= bits[b, 1]


def _places(found: Sequence[Slot]) -> Iterator[_Place]:
    """All errors in order. A run on one qubit ends where the qubit meets another one, or where it is measured."""
    pending: dict[int, _Place] = {}
    for s, slot in enumerate(found):
        for a, gate in enumerate(slot.phases):
            if len(gate.qubits) == 2:
                for qubit in gate.qubits:
                    if qubit in pending:
                        yield pending.pop(qubit)
                yield _Place(gate.qubits, s, a)
            else:
                pending[gate.qubits[0]] = _Place(gate.qubits, s, a)
        for qubit in (*slot.data, *slot.trained):
            pending[qubit] = _Place((qubit,), s)
        for j, pair in enumerate(slot.pairs):
            for qubit in pair.qubits:
                if qubit in pending:
                    yield pending.pop(qubit)
            yield _Place(pair.qubits, s, -1, j + 1)
    yield from pending.values()
