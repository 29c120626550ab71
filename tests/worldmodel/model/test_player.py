"""An agent at work on arrays."""

import numpy as np
import pytest
import torch

from tests.worldmodel.model.agents import COMPONENTS, CONTINUOUS, DISCRETE, KEYS, generator, make_agent, observations
from worldmodel.envs import ActionSpec
from worldmodel.model.player import Player


@pytest.mark.parametrize("action", [DISCRETE, COMPONENTS, CONTINUOUS])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_acts_in_every_precision(action: ActionSpec, precision: torch.dtype) -> None:
    player = Player(make_agent(KEYS, action), precision, generator())
    seen = {key: value.numpy() for key, value in observations(KEYS, (4,), generator()).items()}
    memory = player.initial(4)
    for first in (True, False, False):
        memory = player.act(seen, np.full(4, first), memory, greedy=False)
        chosen = player.action(memory)
        assert chosen.dtype == np.float32 and chosen.shape == (4, action.width)
        if action.kind == "discrete":
            assert ((chosen == 0) | (chosen == 1)).all() and (chosen.sum(-1) == len(action.sizes)).all()


def test_a_copy_has_randomness_of_its_own() -> None:
    player = Player(make_agent(KEYS), torch.float32, generator(3))
    seen = {key: value.numpy() for key, value in observations(KEYS, (50,), generator()).items()}
    state = player.generator.get_state()
    runs = []
    for seed in (1, 1, 2):
        copy = player.copy(seed)
        runs.append(copy.act(seen, np.ones(50, bool), copy.initial(50), greedy=False))
    assert torch.equal(player.generator.get_state(), state)
    assert torch.equal(runs[0].action, runs[1].action) and not torch.equal(runs[0].action, runs[2].action)
    assert torch.equal(runs[0].state.stoch, runs[1].state.stoch)


def test_agent_and_observations_are_not_changed() -> None:
    agent = make_agent(KEYS)
    player = Player(agent, torch.float32, generator())
    seen = {key: value.numpy() for key, value in observations(KEYS, (2,), generator()).items()}
    before = {key: value.copy() for key, value in seen.items()}
    state = {key: value.clone() for key, value in agent.state_dict().items()}
    memory = player.initial(2)
    player.act(seen, np.ones(2, bool), memory, greedy=True)
    assert all(np.array_equal(before[key], seen[key]) for key in seen)
    assert all(torch.equal(state[key], value) for key, value in agent.state_dict().items())
    assert not memory.state.feature.any() and not memory.action.any()
