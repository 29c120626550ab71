"""The agent for control: its losses against plain loops, its slow copies, its actors."""

from itertools import product
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests.worldmodel.model.agents import (
    COMPONENTS,
    CONTINUOUS,
    DISCRETE,
    LOSS,
    SIZE,
    VECTOR,
    flag,
    generator,
    make_windows,
    observations,
)
from worldmodel.envs import ActionSpec, ObservationSpec
from worldmodel.model.config import LossConfig
from worldmodel.model.control.agent import ControlAgent
from worldmodel.model.control.config import ControlConfig
from worldmodel.train.hybrid import make_optimizer
from worldmodel.train.optimizers import LaPropConfig
from worldmodel.train.update import Update

MIXED = {**VECTOR, "place": ObservationSpec("categorical", (2,), (3, 5))}
DISCOUNT = 0.9


def control_agent(action: ActionSpec = CONTINUOUS, specs: Any = VECTOR, **options: Any) -> ControlAgent:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        agent = ControlAgent(specs, action, SIZE, LossConfig(**LOSS), ControlConfig(**options), DISCOUNT)
        for parameter in agent.critics.parameters():  # none of the copies is like another
            parameter.data += 0.3 * torch.randn_like(parameter)
    return agent


def update_of(agent: Any) -> Update:
    config = LaPropConfig(name="laprop", warmup=0)
    return Update(agent, make_optimizer(config, agent, torch.float32, 0, True, dict), torch.float32, generator())


@pytest.mark.parametrize("action", [CONTINUOUS, DISCRETE, COMPONENTS])
def test_every_parameter_changes_and_slow_copies_follow_in_their_period(action: ActionSpec) -> None:
    agent = control_agent(action, MIXED, period=2)
    update, windows = update_of(agent), make_windows(agent)
    for number in range(4):
        before = {name: parameter.detach().clone() for name, parameter in agent.named_parameters()}
        update(windows)
        for name, parameter in agent.named_parameters():
            slow = name.startswith(("seen", "slow"))
            assert parameter.requires_grad != slow
            assert slow or not torch.equal(before[name], parameter), name
        renewed = number % 2 == 0
        for fast, slow in ((agent.world_model, agent.seen), (agent.critics, agent.slow_critics)):
            pairs = zip(fast.parameters(), slow.parameters(), strict=True)
            assert all(torch.equal(*pair) for pair in pairs) == renewed
    assert agent.updates == 4


@pytest.mark.parametrize("action", [CONTINUOUS, COMPONENTS])
def test_targets_are_those_of_a_loop(action: ActionSpec) -> None:
    """Rewards up to an end, or the next episode; then the least slow value of the step that was reached, if any."""
    agent = control_agent(action, target_noise=0.0, returns=3)
    agent.scale.fill_(2.0), agent.scale_target.fill_(5.0)
    steps, batch = 5, 4
    ended = flag((2, 1), (1, 3), steps=steps, batch=batch)
    first = flag((2, 2), (2, 3), steps=steps, batch=batch)
    windows = make_windows(agent, steps, batch, terminated=ended, is_first=first)
    inputs = agent._inputs(windows.observation)
    live = (~first[1:]).float().cumprod(0)
    targets = agent._target(windows, inputs, live, ended[1:].float(), generator())
    for row in range(batch):
        total, t, done = 0.0, 0, False
        while t < 3 and not done and not first[t + 1, row]:
            t += 1
            total += DISCOUNT ** (t - 1) * float(windows.reward[t, row])
            done = bool(ended[t, row])
        if not done:
            latent = agent.seen_before.encode(inputs[t, row : row + 1])
            best = agent.slow_policy.best(latent, agent.seen_before, agent.slow_critics)
            total += DISCOUNT**t * 5 * float(agent.slow_critics(agent.seen_before.feature(latent, best)).min())
        torch.testing.assert_close(float(targets[row]), total / 2, atol=1e-5, rtol=1e-5)


def test_model_loss_is_that_of_a_loop_and_ends_with_the_episode() -> None:
    agent = control_agent()
    steps, batch = 5, 3
    first, ended = flag((3, 1), steps=steps, batch=batch), flag((4, 0), steps=steps, batch=batch)
    windows = make_windows(agent, steps, batch, is_first=first, terminated=ended)
    model, inputs = agent.world_model, agent._inputs(windows.observation)
    expected = torch.zeros(batch)
    for row in range(batch):
        latent = model.encode(inputs[0, row])
        for t in range(steps - 1):
            if first[t + 1, row]:
                break
            feature = model.feature(latent, windows.action[t, row])
            latent, read = model.ahead(feature), model.read(feature)
            expected[row] += (latent - agent.seen.encode(inputs[t + 1, row])).square().mean()
            expected[row] += agent.twohot.loss(read[:-1], (windows.reward[t + 1, row], 1.0))
            expected[row] += (read[-1].sigmoid() - ended[t + 1, row].float()).square()
    torch.testing.assert_close(agent.model_loss(windows), expected, atol=1e-5, rtol=1e-5)
    losses = agent.losses(windows, generator())
    assert losses.item.shape == (batch,)
    after = windows._replace(reward=windows.reward.clone().masked_fill_(first.cumsum(0) > 0, 9.0))
    torch.testing.assert_close(agent.model_loss(after), agent.model_loss(windows))


def test_gradients_reach_only_what_a_loss_is_for() -> None:
    """The actor's loss moves the actor alone, the critics' the critics alone."""
    agent = control_agent()
    latent = torch.randn(3, SIZE.deter)
    agent.policy.loss(latent, agent.seen, agent.critics)[0].sum().backward()
    moved = {name.split(".")[0] for name, p in agent.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"policy"}


@pytest.mark.parametrize("action", [DISCRETE, COMPONENTS])
def test_a_discrete_action_is_that_of_the_greatest_value(action: ActionSpec) -> None:
    agent = control_agent(action)
    latent = torch.randn(6, SIZE.deter)
    best = agent.policy.best(latent, agent.seen, agent.critics)
    for row, chosen in zip(latent, best, strict=True):
        values = {}
        for classes in product(*map(range, action.sizes)):
            hot = torch.cat([F.one_hot(torch.tensor(c), n).float() for c, n in zip(classes, action.sizes, strict=True)])
            values[classes] = agent.critics(agent.seen.feature(row[None], hot[None])).mean().item()
        parts = chosen.split(list(action.sizes))
        assert tuple(int(part.argmax()) for part in parts) == max(values, key=lambda classes: values[classes])
        assert chosen.sum() == len(action.sizes)


@pytest.mark.parametrize("action", [CONTINUOUS, COMPONENTS])
def test_actions_are_random_and_held_until_the_first_update_and_greedy_ones_never(action: ActionSpec) -> None:
    agent, rows, random = control_agent(action, hold=4), 400, generator()
    seen = observations(VECTOR, (rows,), random)
    first, carry = torch.ones(rows, dtype=torch.bool), agent.initial(rows)
    carry = agent.act(seen, first, carry, random)
    held = [float((agent.act(seen, ~first, carry, random).action == carry.action).all(-1).float().mean())]
    chance = 0.75 + (0.25 / 6 if action == COMPONENTS else 0.0)  # a new draw may be the old action
    assert abs(sum(held) - chance) < 5 * (chance * (1 - chance) / rows) ** 0.5
    greedy = agent.act(seen, first, carry, random, greedy=True).action
    torch.testing.assert_close(greedy, agent.act(seen, ~first, carry, random, greedy=True).action)
    agent.updates += 1
    explored = agent.act(seen, first, carry, random).action
    assert not torch.equal(explored, greedy)
    assert explored.abs().max() <= 1
    if action == COMPONENTS:
        other = float((explored != greedy).any(-1).float().mean())
        assert abs(other - 0.1 * 5 / 6) < 5 * (0.08 * 0.92 / rows) ** 0.5


def test_the_scale_of_values_is_that_of_rewards() -> None:
    """Root mean square of all replayed rewards; 1 until there is one."""
    agent = control_agent(period=1)
    update, windows = update_of(agent), make_windows(agent)
    update(windows._replace(reward=torch.zeros_like(windows.reward)))
    assert agent.scale == 1.0
    rewards = [torch.full_like(windows.reward, value) for value in (3.0, -4.0)]
    for reward in rewards:
        update(windows._replace(reward=reward))
    torch.testing.assert_close(float(agent.scale), (25 / 3) ** 0.5)


@pytest.mark.parametrize("action", [CONTINUOUS, COMPONENTS])
def test_values_and_diagnostics_move_no_generator(action: ActionSpec) -> None:
    agent, random = control_agent(action), generator()
    agent.scale.fill_(3.0)
    carry = agent.act(
        observations(VECTOR, (4,), random), torch.ones(4, dtype=torch.bool), agent.initial(4), random, True
    )
    before = torch.get_rng_state()
    expected = 3 * agent.critics(agent.seen.feature(carry.state.deter, carry.action)).mean(0)
    torch.testing.assert_close(agent.value(carry), expected)
    found = agent.diagnostics(type(carry.state)(*(part.unsqueeze(0) for part in carry.state)))
    assert set(found) == {"model/latent_rank", "behavior/action_spread", "behavior/decided"}
    torch.testing.assert_close(found["behavior/action_spread"], carry.action.var(0, unbiased=False).mean().sqrt())
    assert 1 < float(found["model/latent_rank"]) <= 3.01
    assert torch.equal(torch.get_rng_state(), before)
