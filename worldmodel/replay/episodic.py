"""The slots of an episodic memory where replayed windows start, from what the replay stores of each step.

A step stores its key and value in float16, the slot that it went to, and its place in the episode. Windows that start
in mid-episode get the slots from the steps before them, as far as these have not been overwritten.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from worldmodel.model.batch import AnyState, Recalled, Slots
from worldmodel.model.memories.base.writing import rebuilt
from worldmodel.replay.buffer import Array, Replay, Window

ITEM, CODE, AGE = "memory/item", "memory/code", "memory/age"


def remembered_fields(width: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """What the replay stores of each step for a memory whose items have so many numbers; nothing for 0."""
    return {ITEM: ((width,), np.float16), CODE: ((), np.int16), AGE: ((), np.int32)} if width else {}


def pack_written(state: AnyState) -> dict[str, Array]:
    """What was written last, as the replay stores it; nothing without a memory. Of replayed steps the items alone."""
    if not isinstance(state, Recalled):
        return {}
    slots, found = state.slots, {}
    assert slots.item is not None and slots.code is not None
    found[ITEM] = slots.item[..., :-1].half().cpu().numpy()
    if slots.clock is not None:
        found[CODE] = slots.code.cpu().numpy()
        found[AGE] = slots.clock[:, 0].int().cpu().numpy()
    return found


def slots_before(replay: Replay, window: Window, slots: int, device: torch.device) -> Slots:
    """The slots of a window's streams [B] before its first step."""
    count = len(window.start)
    age = np.where(window.fields["is_first"][0], -1, window.before[AGE])  # of an episode's first step nothing is before
    begin = np.maximum(window.start - 1 - age, replay.oldest(window.stream))
    lengths = np.maximum(window.start - begin, 0)
    owner = np.repeat(np.arange(count), lengths)
    step = np.arange(len(owner)) - np.repeat(lengths.cumsum() - lengths, lengths) + begin[owner]
    past: Mapping[str, Tensor] = {
        name: torch.from_numpy(replay.steps(name, window.stream[owner], step)).to(device) for name in (ITEM, CODE)
    }
    items = torch.cat([past[ITEM].float(), torch.ones(len(owner), 1, device=device)], -1)
    return Slots(rebuilt(items, past[CODE], torch.from_numpy(owner).to(device), count, slots))


def codes_of(replay: Replay, window: Window, device: torch.device) -> Tensor:
    """Where the steps of windows were written, int16 [T, B]."""
    step = window.start + np.arange(len(window.fields["is_first"]))[:, None]
    return torch.from_numpy(replay.steps(CODE, window.stream[None], step)).to(device)
