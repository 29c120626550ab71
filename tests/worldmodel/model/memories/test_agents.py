"""Agents with a memory: acting and replay agree, imagination leaves it as it is, and none costs nothing."""

from typing import Any

import pytest
import torch

from hybrid_opt.layers.config import CircuitConfig
from tests.worldmodel.model.agents import (
    SIZE,
    VECTOR,
    by_operators,
    flag,
    generator,
    make_agent,
    make_windows,
    observations,
)
from worldmodel.model.batch import Carry, Recalled, Slots, State
from worldmodel.model.config import MemoryOptions, ModelConfig
from worldmodel.model.factory import Factory
from worldmodel.model.memories import MEMORIES

KINDS = sorted(set(MEMORIES) - {"none"})
OPTIONS = MemoryOptions(slots=6, amplitudes=8, values=5)


def agent_of(kind: str, **options: Any) -> Any:
    return make_agent(parts=Factory(ModelConfig(memory=kind, memory_options=OPTIONS), CircuitConfig()), **options)


def acted(agent: Any, steps: int, rows: int = 3, begins: tuple[int, ...] = (0,)) -> tuple[dict[str, Any], list[Carry]]:
    """Observations [T, N, ...] and what was carried after each of them."""
    seen, carry, found, random = observations(VECTOR, (steps, rows), generator(1)), agent.initial(rows), [], generator()
    for step in range(steps):
        first = torch.full((rows,), step in begins)
        carry = agent.act({key: value[step] for key, value in seen.items()}, first, carry, random)
        found.append(carry)
    return seen, found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("start", "begins"), [(0, (0,)), (4, (0,)), (4, (0, 6))])
def test_replayed_steps_are_written_as_when_they_were_acted(kind: str, start: int, begins: tuple[int, ...]) -> None:
    """Windows that start in mid-episode, and over the start of another episode."""
    agent, steps = agent_of(kind), 9
    seen, carried = acted(agent, steps, begins=begins)
    before = (carried[start - 1] if start else agent.initial(3)).state.slots
    first = flag(*((step - start, slice(None)) for step in begins if step >= start), steps=steps - start, batch=3)
    windows = make_windows(
        agent,
        steps - start,
        observation={key: value[start:] for key, value in seen.items()},
        is_first=first,
        before=Carry(agent.initial(3).state._replace(slots=Slots(before.sums)), carried[start - 1].action),
        codes=torch.stack([carry.state.slots.code for carry in carried[start:]]),
    )
    state = agent.losses(windows, generator()).state
    assert isinstance(state, Recalled)
    torch.testing.assert_close(state.slots.sums, torch.stack([carry.state.slots.sums for carry in carried[start:]]))
    if kind != "random":
        read = agent.world_model.memory.read(agent.world_model.memory.query(state), state.slots)
        torch.testing.assert_close(state.context, read)


@pytest.mark.parametrize("kind", KINDS)
def test_facts_of_the_slots(kind: str) -> None:
    """Steps and episodes are counted, a slot begins when it is taken, and every write and read is a use."""
    agent = agent_of(kind)
    _, carried = acted(agent, 7, begins=(0, 4))
    for step, carry in enumerate(carried):
        slots, since = carry.state.slots, step if step < 4 else step - 4
        assert slots.clock.tolist() == [[since, int(step >= 4)]] * 3
        torch.testing.assert_close(slots.facts[..., 0].sum(1), torch.full((3,), 2.0 * (since + 1)))
        count = slots.sums[..., -1]
        assert (count.sum(1) == since + 1).all() and (slots.facts[..., 1] <= since).all()
        assert ((slots.facts[..., 2] > 0.9) == (count > 0)).all()


def test_the_return_of_a_slot_is_the_mean_of_what_was_expected() -> None:
    agent = agent_of("qmatrix")
    agent.actor_critic.critic.out.weight.data.normal_(generator=generator(3))
    _, carried = acted(agent, 5, rows=1)
    sums = torch.zeros(6)
    for carry in carried:
        place = abs(int(carry.state.slots.code)) - 1
        sums[place] += float(agent.value(carry))
    slots = carried[-1].state.slots
    assert float(sums.abs().sum()) > 0
    torch.testing.assert_close(slots.facts[0, :, 3] * slots.sums[0, :, -1], sums, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_imagination_reads_a_frozen_memory(kind: str) -> None:
    """Every imagined step reads what its start had. Compiled loops and operators agree."""
    agent, windows = agent_of(kind), make_windows(agent_of(kind))
    state = agent.losses(windows, generator(2)).state
    sums = state.slots.sums.clone()
    found = []
    for each in (agent, by_operators(agent_of(kind))):
        each._draw_with(generator(4))
        found.append(each.imagine(state, generator(3)))
    rolled, plain = found
    torch.testing.assert_close(rolled.feature, plain.feature, rtol=1e-3, atol=1e-4)
    assert torch.equal(state.slots.sums, sums)
    width, memory = SIZE.feature, agent.world_model.memory
    assert rolled.feature.shape[-1] == width + 5
    if kind != "random":
        for feature in rolled.feature:
            read = memory.read(memory.asked(feature[:, :width]), Slots(sums.flatten(0, 1)))
            torch.testing.assert_close(feature[:, width:], read, rtol=1e-3, atol=1e-5)


def test_no_memory_is_a_plain_state() -> None:
    """The module of none has no parameters, and what is carried is what it was before there were memories."""
    agent = agent_of("none")
    assert not list(agent.world_model.memory.state_dict()) and type(agent.initial(2).state) is State
    assert type(agent.losses(make_windows(agent), generator()).state) is State
    same = make_agent()
    for name, value in same.state_dict().items():
        assert torch.equal(value, agent.state_dict()[name])


def test_autocast_reads_too() -> None:
    agent = by_operators(agent_of("qmatrix"))
    with torch.autocast("cpu", torch.bfloat16):
        losses = agent.losses(make_windows(agent), generator())
        acted(agent, 3)
    losses.total.backward()
    assert losses.total.isfinite() and agent.world_model.memory.ask.weight.grad.isfinite().all()
