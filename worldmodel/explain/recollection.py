"""What a state keeps whatever is seen, and what its memory read."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worldmodel.model.memories.base.writing import STEP, USES, keys_of, values_of

MOST = 3  # slots that are told


@dataclass(frozen=True)
class Recollection:
    """What a state read: slots in use, success probability of the read, and of the slots that it read most their
    share, the step that was written there first, and their uses."""

    slots: int
    success: float
    read: tuple[tuple[float, int, float], ...]


def carried(agent: Any, state: Any) -> Tensor:
    """Return what states [N] keep whatever is seen, [N, C]: deter, and slots or, where no query asks, the context."""
    memory = memory_of(agent)
    if memory is None:
        deter: Tensor = state.deter.float()
        return deter
    kept = state.slots.sums.flatten(1) if memory.asks else state.context
    return torch.cat([state.deter.float(), kept.float()], -1)


def recollection(agent: Any, state: Any) -> Recollection | None:
    """Return what a state [1] read, None without a query."""
    memory = memory_of(agent)
    if memory is None or not memory.asks:
        return None
    sums, query, width = state.slots.sums, memory.query(state), memory.keys
    keys, used = keys_of(sums, width), (sums[..., -1] > 0).to(sums.dtype)
    shares = memory.weighed(query, keys, values_of(sums, width), used)[1][0]
    fidelity = (keys @ query.unsqueeze(-1)).squeeze(-1).square() * used
    success = float(fidelity.pow(memory.options.beta).sum() / used.sum().clamp(min=1))
    places = shares.topk(min(MOST, int(used.sum()))).indices.tolist()
    facts = state.slots.facts[0]
    read = tuple((float(shares[i]), int(facts[i, STEP]), float(facts[i, USES])) for i in places)
    return Recollection(int(used.sum()), success, read)


def memory_of(agent: Any) -> Any:
    """Return the memory of an agent, None where it keeps nothing."""
    memory = agent.parts.get("memory")
    return memory if memory is not None and memory.width else None
