"""Diagnostics of an agent: the rank of its latents against NumPy, how its policy spreads, and what they leave alone."""

import numpy as np
import pytest
import torch
from worldmodel.envs.spaces.spaces import ActionSpec

from tests.worldmodel.model.agents import CONTINUOUS, DISCRETE, generator, make_agent
from worldmodel.model.actor import Categoricals, Normals
from worldmodel.model.diagnostics import ROWS, effective_rank, spread


@pytest.mark.parametrize("shape", [(40, 7), (20, 50), (ROWS, 300)])
def test_the_rank_is_that_of_numpys_singular_values(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(0).normal(size=shape) * np.logspace(0, -2, shape[1])
    values = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
    share = values[values > 1e-6 * values[0]] / values.sum()
    assert float(effective_rank(torch.tensor(rows))) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-5)


def test_the_rank_of_collapsed_and_of_few_directions() -> None:
    assert effective_rank(torch.full((500, 30), 3.3)) == 0
    line = torch.linspace(-1, 1, 500)[:, None] * torch.randn(30, generator=generator())
    assert float(effective_rank(line)) == pytest.approx(1.0, abs=1e-3)
    corners = torch.eye(4).repeat(100, 1)  # centred, they span three directions alike
    assert float(effective_rank(corners[:ROWS])) == pytest.approx(3.0, abs=1e-3)


def test_policies_that_are_decided() -> None:
    sure = Categoricals(
        (torch.tensor([[0.995, 0.005], [0.5, 0.5]]), torch.tensor([[1.0, 0.0, 0.0], [0.99, 0.01, 0.0]]))
    )
    assert spread(sure) == {"decided": pytest.approx((0.5 + 1.0) / 2)}
    normals = Normals(torch.tensor([[0.999, 0.0], [-0.999, 0.5]]), torch.tensor([[0.1, 0.3], [0.5, 0.7]]))
    assert spread(normals) == {"action_std": pytest.approx(0.4), "decided": pytest.approx(0.5)}


@pytest.mark.parametrize("action", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_an_agent_tells_them_without_moving_a_generator(action: ActionSpec) -> None:
    agent, draws = make_agent(action=action), generator()
    state = agent.world_model.rssm.initial(6)
    state = type(state)(*(torch.randn(4, *part.shape, generator=draws).expand(4, *part.shape) for part in state))
    before = torch.get_rng_state(), draws.get_state()
    found = agent.diagnostics(state)
    names = {"model/latent_rank", "behavior/decided"} | ({"behavior/action_std"} if action is CONTINUOUS else set())
    assert set(found) == names and all(value.dim() == 0 for value in found.values())
    value = agent.value(agent.initial(3))
    torch.testing.assert_close(value, torch.zeros(3))  # the critic begins at 0
    assert torch.equal(torch.get_rng_state(), before[0]) and torch.equal(draws.get_state(), before[1])
