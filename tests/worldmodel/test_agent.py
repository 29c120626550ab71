"""The agent's losses: targets read off the gradients of the heads' biases, and what trains what."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from envs import ActionSpec, ObservationSpec
from tests.worldmodel.agents import (
    BEHAVIOR,
    COMPONENTS,
    CONTINUOUS,
    DISCRETE,
    KEYS,
    LOSS,
    VECTOR,
    generator,
    make_agent,
    make_windows,
    observations,
)
from worldmodel.agent import Agent, LossConfig, Windows
from worldmodel.behavior import BehaviorConfig
from worldmodel.optimizer import LaProp
from worldmodel.rssm import ModelSize, State

ACTIONS = [DISCRETE, COMPONENTS, CONTINUOUS]
DISCOUNT = 332 / 333
LAMBDA = 0.95
TAIL = np.expm1(np.linspace(0, 20, 128))[1:]
LOGITS = np.concatenate([[0.0], TAIL, -TAIL])  # the value of the bin that each logit of reward and critic stands for


def two_hot_logits(value: float) -> Tensor:
    """Logits whose mean is the value, not too sure of it."""
    bins = np.sort(LOGITS)
    low = np.searchsorted(bins, value, side="right") - 1
    probs = np.zeros(255)
    share = (value - bins[low]) / (bins[low + 1] - bins[low])
    probs[LOGITS.tolist().index(bins[low])], probs[LOGITS.tolist().index(bins[low + 1])] = 1 - share, share
    return torch.from_numpy(np.log(np.maximum(probs, 1e-30))).float()


def constant_agent(reward: float, value: float, live: float, **options: float) -> Agent:
    """An agent that predicts the same in every state: only the biases of these heads speak."""
    agent = make_agent(**options)
    with torch.no_grad():
        agent.reward.out.bias.copy_(two_hot_logits(reward))
        agent.critic.out.bias.copy_(two_hot_logits(value))
        agent.continuation.out.weight.zero_()
        agent.continuation.out.bias.fill_(np.log(live) - np.log1p(-live))
    return agent


def bias_gradient(agent: Agent, windows: Windows, head: str) -> Tensor:
    """Gradient of the total loss, times the number of its terms."""
    agent.zero_grad()
    agent.losses(windows, generator()).total.backward()
    gradient = getattr(agent, head).out.bias.grad
    return gradient.double() * windows.reward.numel()


def imagined_return(reward: float, value: float, live: float, horizon: int) -> float:
    total = value
    for _ in range(horizon):
        total = reward + live * ((1 - LAMBDA) * value + LAMBDA * total)
    return total


def flag(*where: tuple[int, int], steps: int, batch: int = 1) -> Tensor:
    flags = torch.zeros(steps, batch, dtype=torch.bool)
    for index in where:
        flags[index] = True
    return flags


# Terminated and truncated


def continuation_targets(windows: Windows) -> float:
    """Sum over the steps of what the continuation head is trained towards."""
    agent = constant_agent(0.0, 0.0, 0.7)
    gradient = bias_gradient(agent, windows, "continuation")  # the sum of prediction - target
    return windows.reward.numel() * 0.7 - float(gradient.sum())


def test_only_termination_ends_the_predicted_episode() -> None:
    agent = make_agent()
    middle, nothing = flag((2, 0), steps=4), flag(steps=4)
    plain = make_windows(agent, 4, 1)
    assert continuation_targets(plain) == pytest.approx(4 * DISCOUNT, rel=1e-5)
    assert continuation_targets(plain._replace(truncated=middle)) == pytest.approx(4 * DISCOUNT, rel=1e-5)
    assert continuation_targets(plain._replace(terminated=middle)) == pytest.approx(3 * DISCOUNT, rel=1e-5)
    both = plain._replace(terminated=middle, is_first=flag((3, 0), steps=4), truncated=nothing)
    assert continuation_targets(both) == pytest.approx(3 * DISCOUNT, rel=1e-5)


REWARD, VALUE, LIVE = 0.5, 7.0, 0.9


def replay_targets(windows: Windows) -> tuple[float, float]:
    """Number of steps on which the critic learns from replay, and the sum of their targets.

    A cross-entropy has the gradient softmax - code at the logits, and the mean of a code is its target; the part of
    the imagined returns is taken off by a second gradient without the replay loss.
    """
    options = {"slow_regularizer": 0.0, "return_rate": 1.0}
    with_replay, without = (
        bias_gradient(constant_agent(REWARD, VALUE, LIVE, replay_value=share, **options), windows, "critic")
        for share in (1.0, 0.0)
    )
    difference = with_replay - without  # the sum of softmax - code over the steps that are learned from
    prediction = two_hot_logits(VALUE).double().softmax(-1)
    peak = LOGITS > 1e5  # no code reaches there, and the prediction is spread over two bins alone
    assert difference[torch.from_numpy(peak)].abs().max() < 1e-4
    steps = learning_steps(windows)
    codes = steps * prediction - difference
    assert codes.sum().item() == pytest.approx(steps, abs=1e-4)
    return steps, float((codes.numpy() * LOGITS).sum())


def learning_steps(windows: Windows) -> int:
    return int((~(windows.terminated | windows.truncated))[:-1].sum())


def test_a_truncated_episode_bootstraps_and_a_terminated_one_does_not() -> None:
    boot = imagined_return(REWARD, VALUE, LIVE, int(BEHAVIOR["horizon"]))
    reward = torch.tensor([[100.0], [3.0]])  # what was got on arrival at the first step belongs to no state here
    plain = make_windows(make_agent(), 2, 1, reward=reward)
    end = flag((1, 0), steps=2)
    assert replay_targets(plain) == (1, pytest.approx(3 + DISCOUNT * boot, rel=1e-3))
    assert replay_targets(plain._replace(truncated=end)) == (1, pytest.approx(3 + DISCOUNT * boot, rel=1e-3))
    assert replay_targets(plain._replace(terminated=end)) == (1, pytest.approx(3, rel=1e-3))


def test_the_trace_of_returns_stops_where_an_episode_ends() -> None:
    boot = imagined_return(REWARD, VALUE, LIVE, int(BEHAVIOR["horizon"]))
    reward = torch.tensor([[100.0], [2.0], [50.0], [8.0]])  # 50 is the first of the next episode, where one ends
    plain = make_windows(make_agent(), 4, 1, reward=reward)
    end = {"is_first": flag((2, 0), steps=4)}
    last = 8 + DISCOUNT * boot  # from step 2 to 3
    middle = 50 + DISCOUNT * ((1 - LAMBDA) * boot + LAMBDA * last)
    first = 2 + DISCOUNT * ((1 - LAMBDA) * boot + LAMBDA * middle)
    assert replay_targets(plain) == (3, pytest.approx(first + middle + last, rel=1e-3))
    truncated = plain._replace(truncated=flag((1, 0), steps=4), **end)
    assert replay_targets(truncated) == (2, pytest.approx(2 + DISCOUNT * boot + last, rel=1e-3))
    terminated = plain._replace(terminated=flag((1, 0), steps=4), **end)
    assert replay_targets(terminated) == (2, pytest.approx(2 + last, rel=1e-3))


def test_imagined_targets_and_their_weights() -> None:
    """Horizon 2: the returns of two steps, weighted by the chance to live until there."""
    agent = constant_agent(REWARD, VALUE, LIVE, replay_value=0.0, slow_regularizer=0.0, horizon=2)
    windows = make_windows(agent, 3, 2)
    gradient = bias_gradient(agent, windows, "critic") / 6  # the mean over starts; 1/2 (softmax - code) weight each
    weights = np.array([LIVE, LIVE**2])
    targets = np.array([imagined_return(REWARD, VALUE, LIVE, 2), imagined_return(REWARD, VALUE, LIVE, 1)])
    codes = weights.mean() * two_hot_logits(VALUE).double().softmax(-1) - gradient
    assert codes.sum().item() == pytest.approx(weights.mean(), rel=1e-4)
    assert float((codes.numpy() * LOGITS).sum()) == pytest.approx((weights * targets).mean(), rel=1e-3)


def test_slow_critic_is_a_regulariser_and_not_the_target() -> None:
    agent = constant_agent(REWARD, VALUE, LIVE, replay_value=0.0, horizon=1, slow_regularizer=0.5)
    with torch.no_grad():
        agent.slow_critic.out.bias.copy_(two_hot_logits(-40.0))
    gradient = bias_gradient(agent, make_windows(agent, 2, 1), "critic") / 2
    codes = LIVE * 1.5 * two_hot_logits(VALUE).double().softmax(-1) - gradient
    expected = LIVE * (imagined_return(REWARD, VALUE, LIVE, 1) + 0.5 * -40.0)
    assert float((codes.numpy() * LOGITS).sum()) == pytest.approx(expected, rel=1e-3)


def test_reward_targets() -> None:
    agent = constant_agent(2.0, 0.0, 0.9)
    windows = make_windows(agent, 4, 2)
    codes = 8 * two_hot_logits(2.0).double().softmax(-1) - bias_gradient(agent, windows, "reward")
    assert float((codes.numpy() * LOGITS).sum()) == pytest.approx(float(windows.reward.sum()), rel=1e-3, abs=1e-3)


def test_policy_gradient() -> None:
    """One imagined step in a constant world: the advantage of every action is the same, and so is its weight."""
    agent = constant_agent(30.0, 10.0, 0.8, horizon=1, entropy=0.0, return_rate=1.0)
    windows = make_windows(agent, 2, 2)
    losses = agent.losses(windows, generator())
    advantage = 30 + 0.8 * 10 - 10  # the returns are all equal: their scale is 1
    assert losses.metrics["behavior/return_scale"].item() == pytest.approx(1.0)
    assert losses.metrics["behavior/advantage"].item() == pytest.approx(advantage, rel=1e-3)
    # the first policy is nearly uniform over 4 actions: log-probabilities are all close to -log 4
    assert losses.metrics["loss/actor"].item() == pytest.approx(0.8 * np.log(4) * advantage, rel=0.02)


def test_entropy_bonus() -> None:
    """Its weight changes linearly over a run."""
    agent = constant_agent(0.0, 0.0, 0.8, horizon=1, entropy=2.0, final_entropy=1.0)
    for progress, weight in ((None, 2.0), (0.25, 1.75), (1.0, 1.0)):
        if progress is not None:
            agent.schedule(progress)
        losses = agent.losses(make_windows(agent, 2, 2), generator())
        assert losses.metrics["behavior/entropy"].item() == pytest.approx(np.log(4), rel=1e-2)
        assert losses.metrics["loss/actor"].item() == pytest.approx(-0.8 * weight * np.log(4), rel=1e-2)


# What trains what


def parts(agent: Agent) -> dict[str, list[Tensor | None]]:
    return {name: [p.grad for p in module.parameters()] for name, module in agent.named_children()}


def gradients(first: bool = False, **options: float) -> dict[str, list[Tensor | None]]:
    torch.manual_seed(0)
    agent = make_agent(**options)
    for head in (agent.reward, agent.critic, agent.actor.net):
        torch.nn.init.normal_(head.out.weight, std=0.1)
    torch.nn.init.normal_(agent.rssm.mix_action.bias)  # else a first step leaves the state at zero
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


def test_the_slow_critic_is_not_trained() -> None:
    assert all(gradient is None for gradient in gradients()["slow_critic"])


def test_slow_critic_follows() -> None:
    agent = make_agent(slow_rate=0.25)
    assert same(list(agent.slow_critic.parameters()), list(agent.critic.parameters()))
    with torch.no_grad():
        for parameter in agent.critic.parameters():
            parameter.add_(4.0)
    before = [p.clone() for p in agent.slow_critic.parameters()]
    agent.update_slow_critic()
    for old, new in zip(before, agent.slow_critic.parameters(), strict=True):
        torch.testing.assert_close(new, old + 1.0)


def test_dynamics_and_representation_train_their_own_side() -> None:
    """On first steps, where no posterior is before the prior."""
    quiet = {"reconstruction": 0.0, "reward": 0.0, "continuation": 0.0, "replay_value": 0.0, "free_nats": 0.0}
    dynamics = gradients(True, **quiet, dynamics=1.0, representation=0.0)
    assert all(gradient is None or not gradient.any() for gradient in dynamics["encoder"])
    representation = gradients(True, **quiet, dynamics=0.0, representation=1.0)
    assert any(gradient is not None and gradient.any() for gradient in representation["encoder"])
    names = [name for name, _ in make_agent().rssm.named_parameters()]
    for name, d, r in zip(names, dynamics["rssm"], representation["rssm"], strict=True):
        if name.startswith("prior_net"):
            assert d is not None and d.any() and (r is None or not r.any()), name
        if name.startswith(("post_out", "post_norm")):
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
        agent.update_slow_critic()
    for name, parameter in agent.named_parameters():
        assert parameter.isfinite().all(), name
        assert not torch.equal(parameter, start[name]), name
        assert parameter.requires_grad == (not name.startswith("slow_critic")), name
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
    stored = agent.rssm.initial(2)._replace(deter=torch.randn(2, 16, generator=generator(5)))
    windows = windows._replace(before=windows.before._replace(state=stored))
    losses = agent.losses(windows, generator(3))
    noise, embed = agent.noise((4, 2), generator(3)), agent.encoder(windows.observation)
    state, action = stored, windows.before.action
    for t in range(4):
        now = slice(t, t + 1)
        states, _ = agent.rssm.observe(embed[now], action.unsqueeze(0), windows.is_first[now], state, noise[now])
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
        assert parameter.grad is None or (parameter.grad.dtype == torch.float32 and parameter.grad.isfinite().all()), (
            name
        )
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
    states, _ = agent.rssm.observe(
        agent.encoder(seen), torch.stack(actions[:-1]), is_first, agent.initial(2).state, noise
    )
    torch.testing.assert_close(torch.stack(deters), states.deter)
    torch.testing.assert_close(memory.state.stoch, states.stoch[-1])
    policy = agent.actor(State(states.deter[-1], states.stoch[-1]).feature)
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
    path = Path(__file__).parent.parent.parent / "configs" / "size" / f"{name}.yaml"
    size = ModelSize(**yaml.safe_load(path.read_text()))
    with torch.device("meta"):
        agent = Agent(VISION, ActionSpec("discrete", (18,)), size, LossConfig(**LOSS), BehaviorConfig(**BEHAVIOR))
    count = sum(p.numel() for p in agent.parameters() if p.requires_grad)
    assert 0.6 < count / PRESETS[name] < 1.5
    assert size.deter % size.blocks == 0 and size.units == 16 * size.depth and size.deter == 8 * size.hidden
