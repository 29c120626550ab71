"""How items enter the slots of a memory: merged with what is like them, into a free slot, or instead of the least used.

A slot keeps the sum of its items, so its value is their mean and its key the direction of their mean. Where each item
went is stored with its step. So the slots of any step follow from the items of the episode before it, without deciding
anything again. Shapes: N rows, M slots, d amplitudes, V values, W = d + V + 1.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from worldmodel.model.batch import Slots

USES, STEP, FIDELITY, RETURN = range(4)  # facts of a slot
LEAST = 1e-30  # a sum of shares below which there is nothing to share


def amplitudes(x: Tensor) -> Tensor:
    """Unit vectors [..., d] of numbers [..., d - 1]: their direction, and a constant as large.

    Amplitudes lose the norm of what they encode, and fidelities its sign. Due to the constant, x and -x have fidelity
    0, and what is orthogonal 1/4.
    """
    return torch.cat([F.normalize(x, dim=-1), torch.ones_like(x[..., :1])], -1) * math.sqrt(0.5)


def empty(rows: int, slots: int, width: int, like: Tensor) -> Slots:
    """A memory with free slots only, at the start of a stream."""
    return Slots(
        like.new_zeros(rows, slots, width),
        like.new_zeros(rows, slots, 4),
        torch.tensor([[0, -1]], device=like.device).repeat(rows, 1),
        like.new_zeros(rows, width),
        torch.zeros(rows, dtype=torch.int16, device=like.device),
    )


def keys_of(sums: Tensor, width: int) -> Tensor:
    """Unit keys [..., M, d] of sums [..., M, W]; zeros of free slots."""
    return F.normalize(sums[..., :width], dim=-1)


def values_of(sums: Tensor, width: int) -> Tensor:
    """Mean values [..., M, V]; zeros of free slots."""
    return sums[..., width:-1] / sums[..., -1:].clamp(min=1.0)


def write(slots: Slots, item: Tensor, first: Tensor, width: int, merge: float) -> Slots:
    """The slots after an item [N, W], emptied before it where first [N].

    The item joins the slot of greatest fidelity if that is at least `merge`, else it takes a free slot, else that of
    the least used slot.
    """
    assert slots.facts is not None and slots.clock is not None
    keep = ~first
    sums, facts = slots.sums * keep[:, None, None], slots.facts * keep[:, None, None]
    step, episode = slots.clock.unbind(-1)
    step, episode = torch.where(first, 0, step + 1), episode + first
    used = sums[..., -1] > 0  # [N, M]
    overlap = (keys_of(sums, width) @ item[:, :width, None]).squeeze(-1)
    fidelity, nearest = (overlap.square() * used).max(-1)  # [N]
    merges = fidelity >= merge
    free = ~used
    # a free slot has no uses and a used one at least 1, so the least used slot is the first free one, if there is any
    least = torch.where(free, -1.0, facts[..., USES]).argmin(-1)
    place = torch.where(merges, nearest, least)
    here = F.one_hot(place, used.shape[-1]).to(sums.dtype).unsqueeze(-1)  # [N, M, 1]
    stays = 1 - here * (~merges)[:, None, None]
    count = sums[..., -1].gather(1, place[:, None]).squeeze(1) * merges  # of the slot before, 0 where it is replaced
    sums = sums * stays + here * item[:, None]
    told = (facts * here).sum(1)  # [N, 4], of the slot that is written
    uses = torch.where(merges, told[:, USES], 0.0) + 1
    since = torch.where(merges, told[:, STEP], step.to(facts.dtype))
    mean = torch.where(merges, (told[:, FIDELITY] * count + fidelity) / (count + 1), 1.0)
    ret = torch.where(merges, told[:, RETURN], 0.0)
    facts = facts * (1 - here) + here * torch.stack([uses, since, mean, ret], -1)[:, None]
    code = torch.where(merges, 1 + place, -1 - place).to(torch.int16)
    return Slots(sums, facts, torch.stack([step, episode], -1), item, code)


def rewritten(sums: Tensor, items: Tensor, first: Tensor, codes: Tensor) -> Tensor:
    """Sums [T, B, M, W] after each step of a sequence, written where their codes [T, B] say.

    sums [B, M, W], before it; items [T, B, W]; first bool [T, B]. Nothing is written where a code is 0.
    """
    slots, found = sums.shape[1], []
    place = (codes.long().abs() - 1).clamp(min=0)
    here = F.one_hot(place, slots).to(sums.dtype) * (codes != 0).unsqueeze(-1)  # [T, B, M]
    keep = (1 - here * (codes < 0).unsqueeze(-1)) * (~first).unsqueeze(-1)
    for keep_t, here_t, item_t in zip(keep, here, items, strict=True):
        sums = torch.addcmul(sums * keep_t.unsqueeze(-1), here_t.unsqueeze(-1), item_t.unsqueeze(1))
        found.append(sums)
    return torch.stack(found)


def rebuilt(items: Tensor, codes: Tensor, owner: Tensor, rows: int, slots: int) -> Tensor:
    """Sums [N, M, W] of what was written in some steps, all at once.

    items [R, W] and codes [R] of the steps of all rows, oldest first; owner int64 [R]: the row of each.
    """
    place = owner * slots + codes.long().abs() - 1
    order = torch.arange(len(codes), device=codes.device)
    begun = torch.full((rows * slots,), -1, device=codes.device)
    opens = codes < 0
    begun.scatter_reduce_(0, place[opens], order[opens], "amax")
    kept = codes != 0
    kept &= order >= begun[place.clamp(min=0)]
    sums = items.new_zeros(rows * slots, items.shape[1])
    sums.index_add_(0, place[kept], items[kept])
    return sums.view(rows, slots, -1)
