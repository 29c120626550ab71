"""Policies, against torch.distributions."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, Normal

from tests.worldmodel.model.agents import COMPONENTS, CONTINUOUS, DISCRETE, actions, generator
from worldmodel.envs import ActionSpec
from worldmodel.model.actor import Actor, Categoricals, Normals

SPECS = [DISCRETE, COMPONENTS, CONTINUOUS]


def make_actor(spec: ActionSpec) -> Actor:
    """With outputs that are not small."""
    torch.manual_seed(0)
    actor = Actor(5, 8, spec)
    nn.init.normal_(actor.net.out.weight)
    nn.init.normal_(actor.net.out.bias, std=2.0)
    return actor


def mixed(logits: Tensor) -> Categorical:
    """99 % the categorical, 1 % uniform."""
    return Categorical(probs=0.99 * Categorical(logits=logits).probs + 0.01 * Categorical(logits=0 * logits).probs)


def test_categoricals() -> None:
    actor = make_actor(COMPONENTS)
    feature = torch.randn(4, 6, 5)
    policy = actor(feature)
    raw = actor.net(feature).double()
    first, second = mixed(raw[..., :3]), mixed(raw[..., 3:])
    action = actions(COMPONENTS, (4, 6), generator(1))
    a, b = action[..., :3].argmax(-1), action[..., 3:].argmax(-1)
    torch.testing.assert_close(policy.log_prob(action).double(), first.log_prob(a) + second.log_prob(b))
    torch.testing.assert_close(policy.entropy().double(), first.entropy() + second.entropy())
    mode = policy.mode()
    assert torch.equal(mode[..., :3].argmax(-1), raw[..., :3].argmax(-1))
    assert torch.equal(mode[..., 3:].argmax(-1), raw[..., 3:].argmax(-1))
    assert mode.shape == (4, 6, 5) and (mode.sum(-1) == 2).all() and ((mode == 0) | (mode == 1)).all()


def test_every_action_stays_possible() -> None:
    actor = make_actor(DISCRETE)
    with torch.no_grad():
        actor.net.out.bias.copy_(torch.tensor([1000.0, -1000.0, 0.0, 0.0]))
    policy = actor(torch.zeros(5))
    assert policy.log_prob(torch.eye(4)).tolist() == pytest.approx([math.log(0.9925)] + 3 * [math.log(0.0025)])


def test_categoricals_sample_their_law() -> None:
    actor = make_actor(COMPONENTS)
    policy = actor(torch.randn(5).expand(50_000, 5))
    sample = policy.sample(actor.noise((50_000,), generator(3)))
    assert sample.shape == (50_000, 5)
    for part, probs in zip(sample.split([3, 2], -1), policy.probs, strict=True):
        assert ((part == 0) | (part == 1)).all() and (part.sum(-1) == 1).all()
        p = probs[0]
        assert ((part.mean(0) - p).abs() < 4 * (p * (1 - p) / 50_000).sqrt()).all()
    joint = (sample[:, 0] * sample[:, 3]).mean().item()  # the components are independent
    product = (policy.probs[0][0, 0] * policy.probs[1][0, 0]).item()
    assert joint == pytest.approx(product, abs=4 * math.sqrt(product / 50_000))


def test_normals() -> None:
    actor = make_actor(CONTINUOUS)
    feature = torch.randn(4, 6, 5)
    policy = actor(feature)
    mean, std = actor.net(feature).double().chunk(2, -1)
    law = Independent(Normal(mean.tanh(), 0.1 + 0.9 / (1 + (-std - 2).exp())), 1)
    action = actions(CONTINUOUS, (4, 6), generator(1))
    torch.testing.assert_close(policy.log_prob(action).double(), law.log_prob(action.double()), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(policy.entropy().double(), law.entropy(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(policy.mode().double(), law.mean)
    assert isinstance(policy, Normals) and policy.std.min() >= 0.1 and policy.std.max() <= 1.0


def test_normals_sample_their_law() -> None:
    policy = Normals(torch.tensor([0.5, -0.9]).expand(50_000, 2), torch.tensor([0.1, 1.0]).expand(50_000, 2))
    sample = policy.sample(make_actor(CONTINUOUS).noise((50_000,), generator(3)))
    assert sample.mean(0).tolist() == pytest.approx([0.5, -0.9], abs=0.02)
    assert sample.std(0).tolist() == pytest.approx([0.1, 1.0], rel=0.02)
    assert torch.corrcoef(sample.T)[0, 1].abs() < 0.02


@pytest.mark.parametrize("spec", SPECS)
def test_sampling_is_reproducible_and_leaves_the_global_generator_alone(spec: ActionSpec) -> None:
    actor = make_actor(spec)
    policy, state = actor(torch.randn(7, 5)), torch.get_rng_state()
    random = generator(4)
    first, second = (policy.sample(actor.noise((7,), random)) for _ in range(2))
    assert torch.equal(first, policy.sample(actor.noise((7,), generator(4)))) and not torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("spec", SPECS)
def test_the_first_policy_explores(spec: ActionSpec) -> None:
    torch.manual_seed(0)
    policy = Actor(100, 64, spec)(torch.randn(50, 100))
    if isinstance(policy, Categoricals):
        for probs in policy.probs:
            assert (probs * probs.shape[-1]).sub(1).abs().max() < 0.05
    else:
        assert policy.mean.abs().max() < 0.1 and policy.std.min() > 0.85


@pytest.mark.parametrize("spec", SPECS)
def test_gradient_of_the_score(spec: ActionSpec) -> None:
    """The expectation of the score function is zero: checked over all actions, or by its closed form."""
    actor = make_actor(spec)
    feature = torch.randn(5)
    if spec.kind == "discrete":
        grids = torch.cartesian_prod(*(torch.arange(n) for n in spec.sizes)).view(-1, len(spec.sizes))
        every = torch.cat([nn.functional.one_hot(grids[:, i], n) for i, n in enumerate(spec.sizes)], -1).float()
        law = actor(feature.expand(len(every), 5)).log_prob(every)
        assert law.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
        (gradient,) = torch.autograd.grad((law.exp().detach() * law).sum(), actor.net.out.bias)
        assert gradient.abs().max() < 1e-6
    else:
        policy = actor(feature)
        action = policy.mode().detach() + 0.3
        (gradient,) = torch.autograd.grad(policy.log_prob(action), policy.mean)
        torch.testing.assert_close(gradient, 0.3 / policy.std.square(), rtol=1e-4, atol=1e-4)
