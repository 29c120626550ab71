"""Targets of the agent's losses, read off the gradients of the heads' biases."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.worldmodel.model.agents import BEHAVIOR, flag, generator, make_agent, make_windows
from worldmodel.model.agent import Agent
from worldmodel.model.batch import Windows

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
        agent.world_model.reward.out.bias.copy_(two_hot_logits(reward))
        agent.actor_critic.critic.out.bias.copy_(two_hot_logits(value))
        agent.world_model.continuation.out.weight.zero_()
        agent.world_model.continuation.out.bias.fill_(np.log(live) - np.log1p(-live))
    return agent


def bias_gradient(agent: Agent, windows: Windows, head: str) -> Tensor:
    """Gradient of the total loss, times the number of its terms."""
    agent.zero_grad()
    agent.losses(windows, generator()).total.backward()
    gradient = agent.get_submodule(head).out.bias.grad
    return gradient.double() * windows.reward.numel()


def imagined_return(reward: float, value: float, live: float, horizon: int) -> float:
    total = value
    for _ in range(horizon):
        total = reward + live * ((1 - LAMBDA) * value + LAMBDA * total)
    return total


def continuation_targets(windows: Windows) -> float:
    """Sum over the steps of what the continuation head is trained towards."""
    agent = constant_agent(0.0, 0.0, 0.7)
    gradient = bias_gradient(agent, windows, "world_model.continuation")  # the sum of prediction - target
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
        bias_gradient(
            constant_agent(REWARD, VALUE, LIVE, replay_value=share, **options), windows, "actor_critic.critic"
        )
        for share in (1.0, 0.0)
    )
    difference = with_replay - without  # the sum of softmax - code over the steps that are learned from
    prediction = two_hot_logits(VALUE).double().softmax(-1)
    peak = LOGITS > 1e5  # no code reaches there, and the prediction is spread over two bins alone
    assert difference[torch.from_numpy(peak)].abs().max() < 1e-4
    steps = learning_steps(windows)
    # The loss is a mean over the T - 1 steps that have a successor; the others' weight is that of a sum over T.
    difference = difference * (len(windows.reward) - 1) / len(windows.reward)
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
    gradient = (
        bias_gradient(agent, windows, "actor_critic.critic") / 6
    )  # the mean over starts; 1/2 (softmax - code) weight each
    weights = np.array([LIVE, LIVE**2])
    targets = np.array([imagined_return(REWARD, VALUE, LIVE, 2), imagined_return(REWARD, VALUE, LIVE, 1)])
    codes = weights.mean() * two_hot_logits(VALUE).double().softmax(-1) - gradient
    assert codes.sum().item() == pytest.approx(weights.mean(), rel=1e-4)
    assert float((codes.numpy() * LOGITS).sum()) == pytest.approx((weights * targets).mean(), rel=1e-3)


def test_slow_critic_is_a_regulariser_and_not_the_target() -> None:
    agent = constant_agent(REWARD, VALUE, LIVE, replay_value=0.0, horizon=1, slow_regularizer=0.5)
    with torch.no_grad():
        agent.actor_critic.slow_critic.out.bias.copy_(two_hot_logits(-40.0))
    gradient = bias_gradient(agent, make_windows(agent, 2, 1), "actor_critic.critic") / 2
    codes = LIVE * 1.5 * two_hot_logits(VALUE).double().softmax(-1) - gradient
    expected = LIVE * (imagined_return(REWARD, VALUE, LIVE, 1) + 0.5 * -40.0)
    assert float((codes.numpy() * LOGITS).sum()) == pytest.approx(expected, rel=1e-3)


def test_reward_targets() -> None:
    agent = constant_agent(2.0, 0.0, 0.9)
    windows = make_windows(agent, 4, 2)
    codes = 8 * two_hot_logits(2.0).double().softmax(-1) - bias_gradient(agent, windows, "world_model.reward")
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
            agent.actor_critic.schedule(progress)
        losses = agent.losses(make_windows(agent, 2, 2), generator())
        assert losses.metrics["behavior/entropy"].item() == pytest.approx(np.log(4), rel=1e-2)
        assert losses.metrics["loss/actor"].item() == pytest.approx(-0.8 * weight * np.log(4), rel=1e-2)
