"""The slots where replayed windows start, against those that were carried there."""

from typing import Any

import numpy as np
import pytest
import torch

from quantum_sampler import make_selector
from tests.worldmodel.model.agents import DISCRETE, SIZE, VECTOR, generator, make_agent, observations
from worldmodel.envs import Records
from worldmodel.model.batch import Recalled
from worldmodel.model.config import MemoryOptions, ModelConfig
from worldmodel.model.factory import Factory
from worldmodel.replay.buffer import Replay, bytes_per_step
from worldmodel.replay.episodic import pack_written
from worldmodel.replay.stream import Stream, fields, latents, pack, record

PARTS = Factory(ModelConfig(memory="qmatrix", memory_options=MemoryOptions(slots=4, amplitudes=8, values=5)))
STREAMS, WINDOW = 2, 3


def played(steps: int, length: int, begins: tuple[int, ...]) -> tuple[Stream, list[Any]]:
    """A replay of an agent's steps, and what it carried after each; stream 1 begins a step later."""
    agent = make_agent(parts=PARTS)
    selector = make_selector("uniform", Replay.item_capacity(length, STREAMS, 1), 1)
    replay = Replay(
        fields(VECTOR, DISCRETE),
        latents(SIZE, PARTS.remembered),
        selector,
        steps=length,
        streams=STREAMS,
        window=WINDOW,
        stride=1,
        seed=0,
    )
    carry, carried, random = agent.initial(STREAMS), [], generator()
    seen = observations(VECTOR, (steps, STREAMS), random)["observation"]
    for step in range(steps):
        first = torch.tensor([step in begins, step == 0 or step - 1 in begins])
        carry = agent.act({"observation": seen[step]}, first, carry, random)
        flags = {"is_first": first.numpy(), "terminated": np.zeros(2, bool), "truncated": np.zeros(2, bool)}
        records = Records(
            stream=np.arange(STREAMS),
            observation={"observation": seen[step].numpy()},
            reward=np.zeros(2, np.float32),
            **flags,
        )
        written = pack_written(carry.state)
        replay.add(records.stream, record(records, carry.action.numpy(), *pack(carry.state), written))
        carried.append(carry.state.slots)
    return Stream(replay, torch.device("cpu"), SIZE.classes, 32, slots=4), carried


@pytest.mark.parametrize("length", [40, 12])
def test_windows_have_the_slots_that_were_carried(length: int) -> None:
    """To what float16 rounds. In a short ring the oldest steps of an episode may be gone, and with them their items."""
    begins = (0, 9, 20)
    stream, carried = played(25, length, begins)
    batch, whole = stream.next(), 0
    state, drawn = batch.windows.before.state, batch.drawn
    assert isinstance(state, Recalled) and batch.windows.codes is not None
    for b, (e, start) in enumerate(zip(drawn.stream.tolist(), drawn.start.tolist(), strict=True)):
        for t in range(WINDOW):
            assert int(batch.windows.codes[t, b]) == int(carried[start + t].code[e])
        if batch.windows.is_first[0, b]:
            assert not state.slots.sums[b].any()
            continue
        since = max(begin + e for begin in (*begins, -e) if begin + e < start)
        found, expected = state.slots.sums[b], carried[start - 1].sums[e]
        if since >= 25 - length:
            whole += 1
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)
        else:
            assert found[:, -1].sum() <= expected[:, -1].sum()
    assert whole > (length > 25) * 20


def test_fresh_items_are_written_back_and_places_stay() -> None:
    stream, _ = played(12, 40, (0,))
    batch = stream.next()
    agent = make_agent(parts=PARTS, seed=5)
    losses = agent.losses(batch.windows, generator())
    codes = stream.replay._rings["memory/code"].copy()
    stream.write_back(batch, losses)
    assert isinstance(losses.state, Recalled) and losses.state.slots.item is not None
    b, drawn = 31, batch.drawn
    for t in range(WINDOW):
        found = stream.replay.steps("memory/item", drawn.stream[b : b + 1], drawn.start[b : b + 1] + t)
        np.testing.assert_allclose(found[0], losses.state.slots.item[t, b, :-1].numpy(), atol=2e-3)
    assert (stream.replay._rings["memory/code"] == codes).all()


def test_a_step_takes_two_bytes_a_number_and_six() -> None:
    assert bytes_per_step(latents(SIZE, PARTS.remembered)) - bytes_per_step(latents(SIZE)) == 2 * 13 + 6
