"""Compiled acting against PyTorch's operators."""

import copy

import pytest
import torch
from torch import Tensor

from tests.worldmodel.model.agents import (
    COMPONENTS,
    CONTINUOUS,
    DISCRETE,
    VECTOR,
    by_operators,
    generator,
    make_agent,
    observations,
)
from worldmodel.envs import ActionSpec, ObservationSpec
from worldmodel.model.agent import Agent
from worldmodel.model.batch import Carry, State

SPECS = {"speed": ObservationSpec("vector", (3,)), "place": ObservationSpec("categorical", (2,), (3, 5))}


def make(specs: dict[str, ObservationSpec] = VECTOR, action: ActionSpec = DISCRETE) -> Agent:
    """An agent all of whose weights matter."""
    agent = make_agent(specs, action)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator(1)))
    return agent


def play(agent: Agent, rows: int, greedy: bool, steps: int = 4) -> list[Carry]:
    """What the agent remembers after each step; every third row starts a new episode at every second step."""
    random, memory, seen = generator(2), agent.initial(rows), []
    for step in range(steps):
        first = (torch.arange(rows) + step) % 6 == 0
        memory = agent.act(observations(agent.observations, (rows,), random), first, memory, random, greedy)
        seen.append(memory)
    return seen


def flat(seen: list[Carry]) -> list[Tensor]:
    return [tensor for memory in seen for tensor in (*memory.state, memory.action)]


@pytest.mark.parametrize("action", [DISCRETE, COMPONENTS, CONTINUOUS])
@pytest.mark.parametrize("rows", [1, 16, 40])
@pytest.mark.parametrize("greedy", [True, False])
def test_each_step_is_that_of_the_operators(action: ActionSpec, rows: int, greedy: bool) -> None:
    """Draws and modes too: rounding decides none of them here."""
    agent = make(SPECS, action)
    fast = play(agent, rows, greedy)
    for ours, theirs in zip(flat(fast), flat(play(by_operators(agent), rows, greedy)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_new_episode_forgets_whatever_was_remembered(compiled: bool) -> None:
    """NaN too: NaN times 0 would stay NaN."""
    agent = make(action=CONTINUOUS) if compiled else by_operators(make(action=CONTINUOUS))
    start = agent.initial(3)
    broken = Carry(State(*(torch.full_like(part, torch.nan) for part in start.state)), start.action + torch.inf)
    seen = observations(agent.observations, (3,), generator())
    first = torch.ones(3, dtype=torch.bool)
    for ours, theirs in zip(
        flat([agent.act(seen, first, broken, generator())]),
        flat([agent.act(seen, first, start, generator())]),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


def test_it_follows_the_weights() -> None:
    """Those that an optimiser changes in place, that are loaded, and that a copy has."""
    agent, weights = make(action=CONTINUOUS), copy.deepcopy(make(action=CONTINUOUS).state_dict())
    before = flat(play(agent, 2, greedy=True))
    twin = copy.deepcopy(agent)
    optimizer = torch.optim.SGD(agent.parameters(), lr=0.1)
    for parameter in agent.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert not torch.equal(before[-1], flat(play(agent, 2, greedy=True))[-1])
    assert all(torch.equal(a, b) for a, b in zip(before, flat(play(twin, 2, greedy=True)), strict=True))
    agent.load_state_dict(weights)
    assert all(torch.equal(a, b) for a, b in zip(before, flat(play(agent, 2, greedy=True)), strict=True))


def test_streams_do_not_mix() -> None:
    """To the bit, in a tile of one register or of two."""
    agent, random = make(), generator(3)
    state = State(torch.rand(40, 16, generator=random), torch.zeros(40, 4, 3))
    seen, first = observations(VECTOR, (40,), random), torch.zeros(40, dtype=torch.bool)
    all_ = agent.act(seen, first, Carry(state, torch.zeros(40, 4)), generator(4), greedy=True)
    noise = agent.noise((1, 40), generator(4))
    for row in (0, 15, 33):
        one = State(state.deter[row : row + 1], state.stoch[row : row + 1])
        assert agent.kernels is not None
        own = {"observation": seen["observation"][row : row + 1]}
        done = agent.kernels.act(own, first[:1], Carry(one, torch.zeros(1, 4)), noise[0, row : row + 1, 0])
        assert done is not None
        alone = done[0]
        assert torch.equal(alone.deter[0], all_.state.deter[row]) and torch.equal(alone.stoch[0], all_.state.stoch[row])
