"""Explanations against closed forms, sums and planted features, and their tests against agents of re-drawn weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.explain import both_found, played
from benchmarks.planted import planted
from tests.worldmodel.model.agents import (
    COMPONENTS,
    CONTINUOUS,
    DISCRETE,
    KEYS,
    LOSS,
    SIZE,
    VECTOR,
    actions,
    generator,
    make_agent,
    observations,
)
from worldmodel.envs import ActionSpec, ObservationSpec
from worldmodel.explain.explanation import COMPLETE, GRADIENTS, explain, missed
from worldmodel.explain.faithfulness import curves, falling, gains, random_curves
from worldmodel.explain.gradients import evaluated, gradients, integrated_gradients
from worldmodel.explain.inputs import Inputs
from worldmodel.explain.occlusion import occlusion
from worldmodel.explain.randomisation import spearman
from worldmodel.explain.targets import NAMES, Targets, make_targets
from worldmodel.model.config import LossConfig
from worldmodel.model.control.agent import ControlAgent
from worldmodel.model.control.config import ControlConfig

N = 6
WEIGHTS = torch.tensor([2.0, -1.0, 0.5])
LINES = Inputs(VECTOR)


def linear(rows: Tensor, states: Tensor) -> Tensor:
    return rows @ WEIGHTS + states


def made(keys: Mapping[str, ObservationSpec], action: ActionSpec, kind: str) -> tuple[Any, Targets, Inputs]:
    """An agent whose heads are not zero, and its targets."""
    if kind == "control":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            agent: Any = ControlAgent(keys, action, SIZE, LossConfig(**LOSS), ControlConfig(), 0.99)
    else:
        agent = make_agent(keys, action)
        for part in (agent.actor_critic.critic, agent.actor_critic.actor):
            with torch.no_grad():
                for weight in part.parameters():
                    weight.add_(0.05 * torch.randn(weight.shape, generator=generator(weight.numel())))
    inputs = Inputs(keys)
    return agent, make_targets(agent, inputs), inputs


def test_a_linear_policy_has_its_closed_form() -> None:
    """w (x - x0), by all methods; the sums are exact, and the areas are those of straight lines."""
    x, baseline = torch.randn(N, 3, generator=generator()), torch.tensor([0.1, 0.2, -0.3])
    expected = WEIGHTS * (x - baseline)
    found = integrated_gradients(linear, x, baseline)
    torch.testing.assert_close(found.values, expected)
    torch.testing.assert_close(occlusion(linear, x, baseline, LINES), expected)
    assert missed(found) < 1e-5
    order = falling(expected)
    areas = curves(linear, x, baseline, LINES, order)
    whole, steps = linear(x, torch.arange(N)).numpy(), -np.sort(-expected.numpy(), axis=1)
    left = whole[:, None] - np.concatenate([np.zeros((N, 1)), steps.cumsum(1)], 1)
    np.testing.assert_allclose(areas.deletion, (left[:, :-1] + left[:, 1:]).mean(1) / 2, rtol=1e-5, atol=1e-6)
    random = random_curves(linear, x, baseline, LINES, 200, np.random.default_rng(0))
    np.testing.assert_allclose(random.deletion, (left[:, 0] + left[:, -1]) / 2, atol=0.25)
    assert gains(areas, random, np.arange(N) // 2).better
    worst = curves(linear, x, baseline, LINES, order[:, ::-1].copy())
    assert not gains(worst, random, np.arange(N) // 2).better


@pytest.mark.parametrize(
    ("keys", "action", "kind"),
    [
        (VECTOR, DISCRETE, "dreamer"),
        (KEYS, COMPONENTS, "dreamer"),
        (VECTOR, CONTINUOUS, "dreamer"),
        (VECTOR, CONTINUOUS, "control"),
        (VECTOR, COMPONENTS, "control"),
    ],
)
def test_gradients_are_those_of_a_plain_sum_and_complete(
    keys: Mapping[str, ObservationSpec], action: ActionSpec, kind: str
) -> None:
    """Oracle: a midpoint sum. Vectors have 2,000 points and agree to 1e-5; images, with their kinks, to 2 %."""
    _, targets, inputs = made(keys, action, kind)
    seen = {key: value[0] for key, value in observations(keys, (1, N), generator(1)).items()}
    x, deter = inputs.rows(seen), torch.randn(N, SIZE.deter, generator=generator(2))
    function = {name: targets.function(name, deter, actions(action, (N,), generator(3))) for name in NAMES}
    baseline, images = x.mean(0), bool(inputs.grids)
    points = 64 if images else 2000
    for name in NAMES:
        found = integrated_gradients(function[name], x, baseline)
        assert missed(found) < COMPLETE, name
        places = (torch.arange(points) + 0.5) / points
        rows = (baseline + places[:, None, None] * (x - baseline)).flatten(0, 1)
        slopes = gradients(function[name], rows, torch.arange(N).repeat(points)).view(points, N, -1)
        plain = (slopes.double().mean(0) * (x - baseline)).float()
        most = float(plain.abs().max())
        exact = integrated_gradients(function[name], x, baseline, 1e-5)
        torch.testing.assert_close(exact.values, plain, rtol=0, atol=2e-2 * most if images else 1e-5 * max(1.0, most))
        from_zero = integrated_gradients(function[name], x, torch.zeros_like(baseline))
        assert missed(from_zero) < COMPLETE


def test_captum_agrees() -> None:
    from captum.attr import IntegratedGradients

    _, targets, _ = made(VECTOR, DISCRETE, "dreamer")
    x, deter = torch.randn(N, 3, generator=generator()), torch.zeros(N, SIZE.deter)
    function = targets.function("policy", deter, actions(DISCRETE, (N,), generator(3)))
    asked = IntegratedGradients(lambda rows: function(rows, torch.arange(len(rows)) % N))
    theirs = asked.attribute(x, torch.full_like(x, 0.1), n_steps=500, internal_batch_size=500 * N)
    ours = integrated_gradients(function, x, torch.full((3,), 0.1), 1e-5)
    torch.testing.assert_close(ours.values, theirs.float(), rtol=0, atol=1e-5)


def test_targets_are_what_the_agent_computes() -> None:
    """By the model's own modules, with the posterior's probabilities in the place of a sample."""
    agent, targets, inputs = made(KEYS, COMPONENTS, "dreamer")
    seen, deter = observations(KEYS, (1, N), generator(1)), torch.randn(N, SIZE.deter, generator=generator(2))
    rows, action = inputs.rows({key: value[0] for key, value in seen.items()}), actions(COMPONENTS, (N,), generator(3))
    model, behavior = agent.world_model, agent.actor_critic
    with torch.no_grad():
        probs = model.rssm.posterior(deter, model.rssm.posterior.seen(model.encoder(seen)[0]))
        feature = torch.cat([deter, probs.flatten(-2)], -1)
        policy, value = behavior.actor(feature), model.twohot.mean(behavior.critic(feature))
        torch.testing.assert_close(targets.policy(rows, deter, action), policy.log_prob(action), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(targets.value(rows, deter, action), value, rtol=1e-3, atol=1e-3)
        assert torch.equal(targets.chosen(rows, deter), policy.mode())


def test_features_are_elements_categories_and_patches() -> None:
    inputs = Inputs(KEYS)
    assert inputs.names[:2] == ["state/position[0]", "state/position[1]"]
    assert inputs.names[2] == "image 1/1" and inputs.grids["image"] == (4, 8, 4) and inputs.grids["map"] == (8, 8, 2)
    assert len(inputs.names) == 2 + 32 + 2 + 64 and inputs.width == 2 + 16 * 32 * 3 + 8 + 256
    ones = inputs.by_feature(torch.ones(1, inputs.width))[0]
    assert ones[:2].tolist() == [1, 1] and ones[2].item() == 48 and ones[34:36].tolist() == [3, 5]
    values = torch.arange(len(inputs.names)).float()
    np.testing.assert_array_equal(inputs.spread(values).numpy(), inputs.feature)


def test_re_drawn_weights_are_the_same_in_another_order() -> None:
    _, targets, _ = made(VECTOR, DISCRETE, "dreamer")
    before = [weight.detach().clone() for weight in targets.parameters()]
    other, head = targets.redrawn(None, 1), targets.redrawn("policy", 1)
    for weight, was, drawn in zip(targets.parameters(), before, other.parameters(), strict=True):
        assert torch.equal(weight, was)
        assert torch.equal(drawn.flatten().sort().values, was.flatten().sort().values)
    x, deter = torch.randn(N, 3, generator=generator()), torch.zeros(N, SIZE.deter)
    action = actions(DISCRETE, (N,), generator(3))
    same = [evaluated(each.function("value", deter, action), x, torch.arange(N)) for each in (targets, head)]
    assert torch.equal(*same)
    assert not torch.equal(other.policy(x, deter, action), targets.policy(x, deter, action))


def test_the_rank_correlation_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 7)), rng.integers(4, size=(5, 7)).astype(float)
    np.testing.assert_allclose(spearman(a, b), [spearmanr(*rows).statistic for rows in zip(a, b, strict=True)])
    assert spearman(np.ones((1, 3)), np.arange(3.0)[None]).tolist() == [0.0]


@pytest.mark.slow
def test_planted_features_are_found_and_re_drawn_weights_refused() -> None:
    """At least 95 of 100 states; what the agent's own explanations pass, those by re-drawn weights do not."""
    targets, inputs = planted(0)
    for each in explain(targets, inputs, played(targets, 100, 0), 10, 10, lambda line: None):
        assert np.mean(both_found(each.values)) >= 0.95
        assert each.gains.better and not each.control.better
        if each.method == GRADIENTS:
            assert each.missed is not None and each.missed < COMPLETE
            assert each.holds and each.correlations["all"]["signed"] < 0.3
