"""The agent: what trains what, its randomness, and how it acts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from tests.worldmodel.model.agents import (
    BEHAVIOR,
    COMPONENTS,
    CONTINUOUS,
    DISCRETE,
    KEYS,
    LOSS,
    SIZE,
    VECTOR,
    flag,
    generator,
    make_agent,
    make_windows,
    observations,
)
from worldmodel.envs import ActionSpec, ObservationSpec
from worldmodel.kernels import for_agent
from worldmodel.kernels.supported import WIDEST, exact, has_kernels, small
from worldmodel.model.agent import Agent
from worldmodel.model.batch import State
from worldmodel.model.config import BehaviorConfig, LossConfig
from worldmodel.model.size import ModelSize
from worldmodel.train.laprop import LaProp

ACTIONS = [DISCRETE, COMPONENTS, CONTINUOUS]


# What trains what


def parts(agent: Agent) -> dict[str, list[Tensor | None]]:
    halves = (agent.world_model, agent.actor_critic)
    return {name: [p.grad for p in part.parameters()] for half in halves for name, part in half.named_children()}


def gradients(first: bool = False, **options: float) -> dict[str, list[Tensor | None]]:
    torch.manual_seed(0)
    agent = make_agent(**options)
    for head in (agent.world_model.reward, agent.actor_critic.critic, agent.actor_critic.actor.net):
        torch.nn.init.normal_(head.out.weight, std=0.1)
    torch.nn.init.normal_(agent.world_model.rssm.cell.mix_action.bias)  # else a first step leaves the state at zero
    windows = make_windows(agent, 4, 2, is_first=torch.full((4, 2), first))
    agent.losses(windows, generator()).total.backward()
    return parts(agent)


def same(a: list[Tensor | None], b: list[Tensor | None]) -> bool:
    pairs = zip(a, b, strict=True)
    return all((x is None and y is None) or (x is not None and y is not None and torch.equal(x, y)) for x, y in pairs)


def test_behaviour_does_not_move_the_model() -> None:
    """But for the critic's loss on replayed states, as in the paper's code."""
    plain, other = gradients(replay_value=0.0), gradients(replay_value=0.0, entropy=5.0, slow_regularizer=9.0)
    for name in ("encoder", "rssm", "decoder", "reward", "continuation"):
        assert same(plain[name], other[name]), name
    assert not same(plain["actor"], other["actor"]) and not same(plain["critic"], other["critic"])
    replayed = gradients(replay_value=1.0)
    assert not same(plain["rssm"], replayed["rssm"]) and same(plain["decoder"], replayed["decoder"])
    assert same(plain["actor"], replayed["actor"])


def test_kernels_are_for_small_models_of_vectors() -> None:
    """In float32 on the CPU; others go by operators of PyTorch, which know more precisions and devices."""
    assert small(make_agent()) and not small(make_agent(KEYS))
    wide = replace(SIZE, deter=2 * WIDEST)
    with torch.device("meta"):
        agents = [
            Agent(VECTOR, DISCRETE, size, LossConfig(**LOSS), BehaviorConfig(**BEHAVIOR)) for size in (SIZE, wide)
        ]
    assert [has_kernels(agent) for agent in agents] == [True, False]
    assert for_agent(agents[1]).kernels is None
    assert exact(torch.zeros(2)) and not exact(torch.zeros(2, dtype=torch.bfloat16))
    assert not exact(torch.zeros(2, device="meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not exact(torch.zeros(2))


def test_the_slow_critic_is_not_trained() -> None:
    assert all(gradient is None for gradient in gradients()["slow_critic"])


def test_slow_critic_follows() -> None:
    agent = make_agent(slow_rate=0.25)
    assert same(list(agent.actor_critic.slow_critic.parameters()), list(agent.actor_critic.critic.parameters()))
    with torch.no_grad():
        for parameter in agent.actor_critic.critic.parameters():
            parameter.add_(4.0)
    before = [p.clone() for p in agent.actor_critic.slow_critic.parameters()]
    agent.actor_critic.update_slow_critic()
    for old, new in zip(before, agent.actor_critic.slow_critic.parameters(), strict=True):
        torch.testing.assert_close(new, old + 1.0)


def test_dynamics_and_representation_train_their_own_side() -> None:
    """On first steps, where no posterior is before the prior."""
    quiet = {"reconstruction": 0.0, "reward": 0.0, "continuation": 0.0, "replay_value": 0.0, "free_nats": 0.0}
    dynamics = gradients(True, **quiet, dynamics=1.0, representation=0.0)
    assert all(gradient is None or not gradient.any() for gradient in dynamics["encoder"])
    representation = gradients(True, **quiet, dynamics=0.0, representation=1.0)
    assert any(gradient is not None and gradient.any() for gradient in representation["encoder"])
    names = [name for name, _ in make_agent().world_model.rssm.named_parameters()]
    for name, d, r in zip(names, dynamics["rssm"], representation["rssm"], strict=True):
        if name.startswith("prior_net"):
            assert d is not None and d.any() and (r is None or not r.any()), name
        if name.startswith(("posterior.out", "posterior.norm")):
            assert r is not None and r.any() and (d is None or not d.any()), name


def test_free_nats() -> None:
    quiet = {"reconstruction": 0.0, "reward": 0.0, "continuation": 0.0, "replay_value": 0.0}
    for part in gradients(**quiet, free_nats=1e3)["rssm"]:
        assert part is None or not part.any()
    agent = make_agent(**quiet, free_nats=1e3)
    assert agent.losses(make_windows(agent), generator()).item.tolist() == pytest.approx([1100.0] * 3)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("specs", [VECTOR, KEYS])
def test_every_parameter_learns(specs: dict[str, ObservationSpec], action: ActionSpec) -> None:
    agent = make_agent(specs, action, free_nats=0.0)
    optimizer = LaProp([p for p in agent.parameters() if p.requires_grad], lr=1e-3)
    start = {name: p.detach().clone() for name, p in agent.named_parameters()}
    random = generator()
    for seed in range(3):  # heads that start at zero pass nothing on at first
        optimizer.zero_grad()
        agent.losses(make_windows(agent, seed=seed), random).total.backward()
        optimizer.step()
        agent.actor_critic.update_slow_critic()
    for name, parameter in agent.named_parameters():
        assert parameter.isfinite().all(), name
        assert not torch.equal(parameter, start[name]), name
        assert parameter.requires_grad == (not name.startswith("actor_critic.slow_critic")), name
        assert not parameter.requires_grad or (parameter.grad is not None and parameter.grad.any()), name


def test_learns_one_batch_by_heart() -> None:
    agent = make_agent()
    windows, random = make_windows(agent, batch=2), generator()
    optimizer = LaProp([p for p in agent.parameters() if p.requires_grad], lr=1e-2)
    values = []
    for _ in range(20):
        losses = agent.losses(windows, random)
        values.append(losses.item.mean().item())
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    assert np.mean(values[-3:]) < 0.75 * np.mean(values[:3])


# Batches, weights and randomness


def test_losses_are_reproducible_and_own_their_randomness() -> None:
    results = []
    for _ in range(2):
        agent = make_agent(KEYS)
        state = torch.get_rng_state()
        losses = agent.losses(make_windows(agent), generator(7))
        losses.total.backward()
        assert torch.equal(state, torch.get_rng_state())
        flat = torch.cat([p.grad.flatten() for p in agent.parameters() if p.grad is not None])
        results.append((losses.total, losses.item, losses.state.feature, flat))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    agent = make_agent(KEYS)
    assert not torch.equal(agent.losses(make_windows(agent), generator(8)).total, results[0][0])


def test_importance_weights_scale_the_loss_of_their_window() -> None:
    agent = make_agent(return_rate=1e-9)
    windows = make_windows(agent, 4, 3)

    def total(*weight: float) -> float:
        return agent.losses(windows._replace(weight=torch.tensor(weight)), generator()).total.item()

    alone = [total(1, 0, 0), total(0, 1, 0), total(0, 0, 1)]
    assert min(abs(value) for value in alone) > 0.1
    assert total(1, 1, 1) == pytest.approx(sum(alone), rel=1e-4)
    assert total(0.5, 2, 3) == pytest.approx(np.dot([0.5, 2, 3], alone), rel=1e-4)
    item = agent.losses(windows._replace(weight=torch.zeros(3)), generator()).item
    assert torch.equal(item, agent.losses(windows, generator()).item)  # priorities do not see the weights


def test_posterior_follows_the_action_before_each_observation() -> None:
    """From the stored state of the step before the window; a first step follows nothing."""
    agent = make_agent(KEYS)
    windows = make_windows(agent, 4, 2, is_first=flag((2, 1), steps=4, batch=2))
    stored = agent.world_model.rssm.initial(2)._replace(deter=torch.randn(2, 16, generator=generator(5)))
    windows = windows._replace(before=windows.before._replace(state=stored))
    losses = agent.losses(windows, generator(3))
    noise, embed = agent.noise((4, 2), generator(3)), agent.world_model.encoder(windows.observation)
    state, action = stored, windows.before.action
    for t in range(4):
        now = slice(t, t + 1)
        states, _ = agent.world_model.rssm.observe(
            embed[now], action.unsqueeze(0), windows.is_first[now], state, noise[now]
        )
        state, action = State(states.deter[0], states.stoch[0]), windows.action[t]
        torch.testing.assert_close(losses.state.deter[t], state.deter)
        torch.testing.assert_close(losses.state.stoch[t], state.stoch)


def test_states_and_metrics_are_detached() -> None:
    agent = make_agent(KEYS)
    losses = agent.losses(make_windows(agent), generator())
    assert (
        losses.item.shape == (3,) and losses.state.deter.shape == (5, 3, 16) and losses.state.stoch.shape[:2] == (5, 3)
    )
    assert not any(x.requires_grad for x in (losses.item, *losses.state, *losses.metrics.values()))
    assert {f"loss/reconstruction/{key}" for key in KEYS} <= losses.metrics.keys()
    assert all(value.shape == () and value.isfinite() for value in losses.metrics.values())


def test_item_losses_are_the_weighted_sum_of_their_parts() -> None:
    agent = make_agent(KEYS, reconstruction=0.5, reward=2.0, continuation=3.0, dynamics=0.0, representation=0.0)
    losses = agent.losses(make_windows(agent), generator())
    m = losses.metrics
    parts = 0.5 * sum(m[f"loss/reconstruction/{key}"] for key in KEYS) + 2 * m["loss/reward"] + 3 * m["loss/continue"]
    torch.testing.assert_close(losses.item.mean(), parts)
    torch.testing.assert_close(m["loss/model"], parts)


@pytest.mark.parametrize("action", ACTIONS)
def test_bfloat16(action: ActionSpec) -> None:
    agent = make_agent(KEYS, action)
    windows = make_windows(agent)
    exact = agent.losses(windows, generator())
    agent = make_agent(KEYS, action)
    with torch.autocast("cpu", torch.bfloat16):
        losses = agent.losses(windows, generator())
    losses.total.backward()
    assert losses.total.dtype == torch.float32
    assert losses.total.item() == pytest.approx(exact.total.item(), rel=0.05)
    for name, parameter in agent.named_parameters():
        if parameter.requires_grad:  # PyTorch 2.9 lost the actor's gradients in the cache of casted weights
            grad = parameter.grad
            assert grad is not None and grad.dtype == torch.float32 and grad.isfinite().all(), name
    assert losses.state.stoch.sum(-2).eq(1).all()


# Acting


@pytest.mark.parametrize("action", ACTIONS)
def test_acting_is_observing_step_by_step(action: ActionSpec) -> None:
    agent = make_agent(KEYS, action)
    seen = observations(KEYS, (4, 2), generator(1))
    is_first = torch.tensor([[1, 1], [0, 0], [0, 1], [0, 0]], dtype=torch.bool)
    memory, random = agent.initial(2), generator(2)
    deters, actions = [], [memory.action]
    for t in range(4):
        memory = agent.act({key: value[t] for key, value in seen.items()}, is_first[t], memory, random, greedy=True)
        assert memory.action.shape == (2, action.width)
        deters.append(memory.state.deter)
        actions.append(memory.action)
    random = generator(2)
    noise = torch.cat([agent.noise((1, 2), random) for _ in range(4)])
    states, _ = agent.world_model.rssm.observe(
        agent.world_model.encoder(seen), torch.stack(actions[:-1]), is_first, agent.initial(2).state, noise
    )
    torch.testing.assert_close(torch.stack(deters), states.deter)
    torch.testing.assert_close(memory.state.stoch, states.stoch[-1])
    policy = agent.actor_critic.actor(State(states.deter[-1], states.stoch[-1]).feature)
    torch.testing.assert_close(memory.action, policy.mode())
    assert not memory.action.requires_grad


def test_acting_explores_only_on_request() -> None:
    agent = make_agent()
    observation = {key: value.expand(200, -1) for key, value in observations(VECTOR, (1,), generator()).items()}
    first, memory = torch.ones(200, dtype=torch.bool), agent.initial(200)
    sampled = agent.act(observation, first, memory, generator()).action
    assert sampled.sum(0).min() > 20  # all of the four actions
    assert torch.equal(sampled, agent.act(observation, first, memory, generator()).action)
    assert not torch.equal(sampled, agent.act(observation, first, memory, generator(1)).action)


# Sizes

PRESETS = {"1m": 1e6, "12m": 12e6, "25m": 25e6, "50m": 50e6, "100m": 100e6, "200m": 200e6, "400m": 400e6}
VISION = {"image": ObservationSpec("image", (64, 64, 3))}


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str) -> None:
    """Parameters of an agent that sees 64 x 64 pixels are of the order that the preset's name says."""
    path = Path(__file__).parents[3] / "configs" / "size" / f"{name}.yaml"
    size = ModelSize(**yaml.safe_load(path.read_text()))
    with torch.device("meta"):
        agent = Agent(VISION, ActionSpec("discrete", (18,)), size, LossConfig(**LOSS), BehaviorConfig(**BEHAVIOR))
    count = sum(p.numel() for p in agent.parameters() if p.requires_grad)
    assert 0.6 < count / PRESETS[name] < 1.5
    assert size.deter % size.blocks == 0 and size.units == 16 * size.depth and size.deter == 8 * size.hidden
