"""The memories that keep something: what they write, and the read that all kinds share.

Keys and values are fixed random projections of the embedded observation, without gradients: what was written long ago
stays comparable. Queries are a trained map of the model state. The heads see what was read beside the state, so the
recurrent cell and its compiled loops stay as they are.

Shapes: N rows, T steps, B windows, M slots, d amplitudes, V values, W = d + V + 1, E embedding, F feature.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from quantum_sampler.amplitude.amplification import Search
from worldmodel.model.batch import AnyState, Recalled, Slots, Windows
from worldmodel.model.config import MemoryOptions
from worldmodel.model.layers import Linear
from worldmodel.model.memories.base.writing import (
    LEAST,
    RETURN,
    USES,
    amplitudes,
    empty,
    keys_of,
    rewritten,
    values_of,
    write,
)
from worldmodel.model.memories.memory import Memory

HIT = 0.5  # fidelity of query and key from which a read has found something
GRID = 256  # success probabilities at which the queries of a search are tabulated, sin^2 of angles


class EpisodicMemory(Memory):
    """A memory whose kinds differ in one law: `shares`, how much of each slot is read."""

    directions: Tensor  # [E, d - 1 + V], of keys and values
    grid: Tensor
    costs: Tensor
    asks = True

    def __init__(self, feature: int, embed: int, options: MemoryOptions) -> None:
        super().__init__()
        self.options, self.keys, self.width = options, options.amplitudes, options.values
        self.stored = self.keys + self.width
        self.ask = Linear(feature, self.keys - 1) if self.asks else None
        self.register_buffer("directions", torch.randn(embed, self.stored - 1) / embed**0.5)
        rounds = Search.within(round(9 * options.slots**0.5))
        grid = torch.logspace(-3, math.log10(math.pi / 2), GRID, dtype=torch.float64, device="cpu")
        self.register_buffer("grid", grid.log().float(), persistent=False)
        law = [rounds.expected_queries(min(1.0, math.sin(float(angle)) ** 2)) for angle in grid]
        costs = torch.tensor(law, dtype=torch.float32, device="cpu")
        self.register_buffer("costs", costs, persistent=False)

    def shares(self, overlap: Tensor, used: Tensor) -> Tensor:
        """How much of each slot is read [..., M], summing to 1 if any is used.

        overlap [..., M]: <q|k> of query and keys; used [..., M]: 1 of slots that hold something, else 0.
        """
        raise NotImplementedError

    def initial(self, state: AnyState) -> AnyState:
        rows = len(state.deter)
        slots = empty(rows, self.options.slots, self.stored + 1, state.deter)
        return Recalled(state.deter, state.stoch, state.deter.new_zeros(rows, self.width), slots)

    def seen(self, state: AnyState, embed: Tensor, first: Tensor, before: AnyState) -> AnyState:
        assert isinstance(before, Recalled)
        slots = self.write(self.item(embed), first, before.slots)
        context, shares = self._read(self.query(state), slots.sums)
        assert slots.facts is not None
        facts = slots.facts.clone()
        facts[..., USES] += shares
        return Recalled(state.deter, state.stoch, context, slots._replace(facts=facts))

    def replayed(self, state: AnyState, embed: Tensor, windows: Windows) -> AnyState:
        before, codes = windows.before.state, windows.codes
        assert isinstance(before, Recalled) and codes is not None
        items = self.item(embed)
        sums = rewritten(before.slots.sums, items, windows.is_first, codes)  # [T, B, M, W]
        context, _ = self._read(self.query(state), sums)
        return Recalled(state.deter, state.stoch, context, Slots(sums, item=items, code=codes))

    def frozen(self, state: AnyState) -> Callable[[Tensor], Tensor] | None:
        assert isinstance(state, Recalled)
        sums = state.slots.sums
        keys, values, used = keys_of(sums, self.keys), values_of(sums, self.keys), (sums[..., -1] > 0).to(sums.dtype)

        def read(feature: Tensor) -> Tensor:
            shares = self.shares(torch.einsum("...nd,nmd->...nm", self.asked(feature), keys), used)
            return torch.einsum("...nm,nmv->...nv", shares, values)

        return read

    def reread(self, feature: Tensor, read: Callable[[Tensor], Tensor] | None) -> Tensor:
        """Actor and critic train the query too: where the actor turns, the model may have no use for the cue."""
        if not self.asks or read is None:
            return feature
        state = feature[..., : -self.width]
        return torch.cat([state, read(state)], -1)

    def valued(self, state: AnyState, value: Tensor) -> AnyState:
        assert isinstance(state, Recalled)
        slots = state.slots
        assert slots.facts is not None and slots.code is not None
        place = (slots.code.long().abs() - 1)[:, None]
        count = slots.sums[..., -1].gather(1, place).squeeze(1)  # this step's write among them
        facts = slots.facts.clone()
        was = facts[..., RETURN].gather(1, place).squeeze(1)
        facts[..., RETURN].scatter_(1, place, (was + (value.to(was.dtype) - was) / count)[:, None])
        return state._replace(slots=slots._replace(facts=facts))

    @torch.no_grad()
    def item(self, embed: Tensor) -> Tensor:
        """What is written of an embedded observation [..., E]: its key, its value, and 1. [..., W]"""
        embed = embed.detach().float()
        # activations are positive on the whole, so that without their mean observations differ more
        x = (embed - embed.mean(-1, keepdim=True)) @ self.directions.float()
        key, value = x.split([self.keys - 1, self.width], -1)
        value = F.normalize(value, dim=-1) * self.width**0.5
        return torch.cat([amplitudes(key), value, torch.ones_like(x[..., :1])], -1)

    def query(self, state: AnyState) -> Tensor:
        """The query [..., d] of a model state."""
        return self.asked(torch.cat([state.deter, state.stoch.flatten(-2)], -1))

    def asked(self, feature: Tensor) -> Tensor:
        """The query [..., d] of a model state's feature [..., F], without context."""
        if self.ask is None:
            return feature[..., : self.keys] * 0
        return amplitudes(self.ask(feature).float())

    def read(self, query: Tensor, slots: Slots) -> Tensor:
        return self._read(query, slots.sums)[0]

    def write(self, item: Tensor, first: Tensor, slots: Slots) -> Slots:
        return write(slots, item, first, self.keys, self.options.merge)

    def _read(self, query: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
        """The context [..., V] of queries [..., d], and the shares of the slots [..., M]."""
        return self.weighed(
            query, keys_of(sums, self.keys), values_of(sums, self.keys), (sums[..., -1] > 0).to(sums.dtype)
        )

    def weighed(self, query: Tensor, keys: Tensor, values: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
        """The same of keys [..., M, d], values [..., M, V] and which slots are used [..., M]."""
        shares = self.shares((keys @ query.unsqueeze(-1)).squeeze(-1), used)
        return (shares.unsqueeze(-2) @ values).squeeze(-2), shares

    @torch.no_grad()
    def metrics(self, state: AnyState) -> dict[str, Tensor]:
        """Size, writes that merged, reads that hit, success probability, and what reads would cost.

        queries: of a search that does not know the success probability. scan: keys that a processor looks at instead.
        loading: keys that a quantum memory must be loaded with.
        """
        assert isinstance(state, Recalled)
        sums, codes = state.slots.sums, state.slots.code
        assert codes is not None
        used = (sums[..., -1] > 0).float()
        query = self.query(state)
        fidelity = (keys_of(sums, self.keys) @ query.unsqueeze(-1)).squeeze(-1).square() * used
        size = used.sum(-1)
        success = fidelity.pow(self.options.beta).sum(-1) / size.clamp(min=1)
        return {
            "memory_size": size.mean(),
            "memory_merges": (codes > 0).float().sum() / (codes != 0).float().sum().clamp(min=1),
            "memory_hits": (fidelity.amax(-1) >= HIT).float().mean(),
            "memory_success": success.mean(),
            "memory_queries": self._queries(success).mean(),
            "memory_scan": size.mean(),
            "memory_loading": size.mean(),
        }

    def _queries(self, success: Tensor) -> Tensor:
        """Mean queries of `Search` at success probabilities, of any shape, between those of a table."""
        x = success.clamp(LEAST, 1.0).sqrt().asin().log()
        right = torch.searchsorted(self.grid, x.contiguous()).clamp(1, GRID - 1)
        left, low, high = self.costs[right - 1], self.grid[right - 1], self.grid[right]
        return torch.lerp(left, self.costs[right], ((x - low) / (high - low)).clamp(0, 1))


def normalised(weights: Tensor) -> Tensor:
    """Weights [..., M] divided by their sum; zeros where that is 0."""
    return weights / weights.sum(-1, keepdim=True).clamp(min=LEAST)
