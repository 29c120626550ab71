"""One update: what it changes, what it never changes, and the precisions that it runs in."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from hybrid_opt.direction.optimizer import HybridOptimizer
from tests.worldmodel.model.agents import KEYS, VECTOR, generator, make_agent, make_windows
from worldmodel.model.agent import Agent
from worldmodel.model.batch import Losses, Windows
from worldmodel.train.hybrid import WORLD_MODEL, model_loss
from worldmodel.train.laprop import LaProp
from worldmodel.train.update import NonFiniteLoss, Update


def make_update(agent: Agent, precision: torch.dtype = torch.float32, seed: int = 0) -> Update:
    optimizer = LaProp([p for p in agent.parameters() if p.requires_grad], lr=1e-3)
    return Update(agent, optimizer, precision, generator(seed))


def weights(agent: Agent) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in agent.named_parameters()}


def test_updates_repeat_to_the_bit() -> None:
    results = []
    for _ in range(2):
        agent = make_agent(KEYS)
        update = make_update(agent)
        losses = [update(make_windows(agent, seed=seed)).total.item() for seed in range(3)]
        results.append((losses, torch.cat([p.flatten() for p in weights(agent).values()])))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_the_slow_critic_moves_once_towards_the_new_critic() -> None:
    agent = make_agent(slow_rate=0.1)
    before = weights(agent)
    make_update(agent)(make_windows(agent))
    after = weights(agent)
    for name in before:
        if name.startswith("slow_critic."):
            fast = after[name.removeprefix("slow_")]
            torch.testing.assert_close(after[name], 0.9 * before[name] + 0.1 * fast)


def test_gradients_of_one_update_do_not_reach_the_next() -> None:
    agent, windows = make_agent(), make_windows(make_agent())
    update = make_update(agent)
    update(windows)
    first = [p.grad.clone() for p in agent.parameters() if p.grad is not None]
    state = {key: value.clone() for key, value in agent.state_dict().items()}
    update.generator.manual_seed(3)
    update(windows)
    second = [p.grad.clone() for p in agent.parameters() if p.grad is not None]
    agent.load_state_dict(state)
    other = make_update(agent, seed=3)
    other(windows)
    third = [p.grad for p in agent.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(second, third, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("where", ["reward", "observation", "weight"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_changes_no_weight(where: str, value: float) -> None:
    agent = make_agent(VECTOR)
    update = make_update(agent)
    update(make_windows(agent))
    windows = make_windows(agent)
    fields: dict[str, Any] = {"reward": windows.reward, "weight": windows.weight, **windows.observation}
    if where == "reward" and value == math.inf:
        value = math.nan  # infinite rewards are clamped by the code, and refused by the environments
    fields[where].view(-1)[1] = value
    before, moments = weights(agent), [s["mean"].clone() for s in update.optimizer.state.values()]
    with pytest.raises(NonFiniteLoss) as caught:
        update(windows)
    assert caught.value.exit_code == 1 and "\n" not in str(caught.value)
    for name, parameter in agent.named_parameters():
        assert torch.equal(parameter, before[name]), name
    assert all(torch.equal(a, s["mean"]) for a, s in zip(moments, update.optimizer.state.values(), strict=True))


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_no_weight(
    monkeypatch: pytest.MonkeyPatch, value: float, hybrid: bool
) -> None:
    """The loss is finite: only the way back went wrong."""
    agent = make_agent(VECTOR)
    update = make_update(agent)
    if hybrid:
        named = [(name, p) for name, p in agent.named_parameters() if p.requires_grad]
        optimizer = HybridOptimizer(LaProp(named, lr=1e-3), solver="exact", every=1, overhead=None, blocks=2)
        own = [(name, p) for name, p in named if name.startswith(WORLD_MODEL)]
        optimizer.attach(model_loss(agent, torch.float32, 2), own)
        update = Update(agent, optimizer, torch.float32, generator())
    update(make_windows(agent))
    before, state = weights(agent), copy.deepcopy(update.optimizer.state_dict()["state"])
    gradients = update._gradients

    def broken(windows: Windows) -> Losses:
        losses = gradients(windows)
        agent.world_model.rssm.cell.gates.weight.grad[1, 2, 3] = value  # type: ignore[index]
        return losses

    monkeypatch.setattr(update, "_gradients", broken)
    expected = r"^the gradient is not finite \(world_model\.rssm\.cell\.gates\.weight\); the weights were not changed$"
    with pytest.raises(NonFiniteLoss, match=expected) as caught:
        update(make_windows(agent))
    assert caught.value.exit_code == 1
    assert all(torch.equal(parameter, before[name]) for name, parameter in agent.named_parameters())
    torch.testing.assert_close(update.optimizer.state_dict()["state"], state, rtol=0, atol=0)


def test_bfloat16_keeps_the_weights_in_float32() -> None:
    agent = make_agent(KEYS)
    update = make_update(agent, torch.bfloat16)
    for seed in range(2):
        losses = update(make_windows(agent, seed=seed))
        assert losses.total.isfinite() and not losses.total.requires_grad
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in agent.parameters())


@pytest.mark.parametrize(("progress", "rate"), [(0.0, 1.0), (0.5, 0.6), (1.0, 0.2)])
def test_the_learning_rate_falls_linearly(progress: float, rate: float) -> None:
    """A first step of LaProp is as long as the learning rate, in every weight that has a gradient."""
    agent = make_agent()
    optimizer = LaProp([p for p in agent.parameters() if p.requires_grad], lr=1e-3)
    before = weights(agent)
    Update(agent, optimizer, torch.float32, generator(), final_rate=0.2)(make_windows(agent), progress)
    moved = (agent.world_model.reward.out.bias - before["world_model.reward.out.bias"]).abs()
    assert moved.max().item() == pytest.approx(1e-3 * rate, rel=1e-4)
