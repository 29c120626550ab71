"""Compiled rollouts, step by step against the layers of PyTorch."""

import pytest
import torch
from torch import Tensor

from hybrid_opt.layers.config import CircuitConfig
from tests.worldmodel.model.agents import COMPONENTS, CONTINUOUS, DISCRETE, VECTOR, by_operators, generator, make_agent
from worldmodel.envs import ActionSpec
from worldmodel.kernels import imagine as rollout
from worldmodel.launch import hardware
from worldmodel.model.agent import Agent
from worldmodel.model.batch import Imagined, State
from worldmodel.model.config import HeadsConfig, ModelConfig
from worldmodel.model.factory import DEFAULT, Factory

STEPS = 6
WIDE = ActionSpec("continuous", (1,) * 11)


def make(spec: ActionSpec, parts: Factory = DEFAULT) -> Agent:
    """An agent all of whose weights matter."""
    agent, random = make_agent(VECTOR, spec, parts=parts), generator(1)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=random))
    return agent


def imagined(agent: Agent, rows: int, threads: int = 1) -> tuple[Imagined, Tensor, Tensor]:
    """A rollout, and the noise of latents and actions that it is made of."""
    random, size = generator(2), agent.world_model.rssm.size
    deter = torch.rand(rows, size.deter, generator=random) * 2 - 1
    classes = torch.randint(size.classes, (rows, size.stoch), generator=random)
    stoch = torch.nn.functional.one_hot(classes, size.classes).transpose(1, 2).float()
    noise, chance = agent.noise((STEPS, rows), random), agent.actor_critic.actor.noise((STEPS, rows), random)
    before = torch.get_num_threads()
    hardware.set_threads(threads)
    try:
        got = rollout.imagine(agent.world_model, agent.actor_critic, State(deter, stoch), noise, chance, threads)
    finally:
        hardware.set_threads(before)
    torch.testing.assert_close(got.feature[0], torch.cat([deter, stoch.flatten(1)], -1))
    return got, noise, chance


def same_value(value: Tensor, logits: Tensor, agent: Agent) -> None:
    """To five digits of the larger of its two tails, which may cancel; they reach e^20."""
    bins, place = agent.world_model.twohot.bins, agent.world_model.twohot.place
    shares = logits.double().softmax(-1)[..., place]  # of the bins in their own order
    assert ((shares @ bins.double() - value).abs() <= 1e-5 * (1 + shares @ bins.double().abs())).all()


def kinds(**heads: str) -> Factory:
    """The parts of a model with such heads."""
    return Factory(ModelConfig(heads=HeadsConfig(**heads)), CircuitConfig(qubits=3, layers=2))


MIXED = [
    kinds(actor="circuit"),
    kinds(prior="circuit"),
    kinds(reward="product", continuation="circuit"),
    kinds(critic="frozen"),
    kinds(**dict.fromkeys(("actor", "critic", "reward", "continuation", "prior"), "fourier")),
    Factory(ModelConfig(router="linear")),
]


@pytest.mark.parametrize("spec", [DISCRETE, COMPONENTS, CONTINUOUS, WIDE])
@pytest.mark.parametrize("rows", [1, 32, 75])
def test_every_step_is_that_of_the_layers(spec: ActionSpec, rows: int) -> None:
    """From each of its own states. A draw may differ where rounding decides: here in no row."""
    assert_steps_are_those_of_the_layers(make(spec), rows)


@pytest.mark.parametrize("spec", [DISCRETE, CONTINUOUS])
@pytest.mark.parametrize("parts", MIXED)
def test_every_step_is_that_of_heads_without_a_kernel(parts: Factory, spec: ActionSpec) -> None:
    assert_steps_are_those_of_the_layers(make(spec, parts), 75)


def assert_steps_are_those_of_the_layers(agent: Agent, rows: int) -> None:
    got, noise, chance = imagined(agent, rows)
    width = agent.world_model.rssm.size.deter
    with torch.no_grad():
        for t in range(STEPS):
            action = agent.actor_critic.actor(got.feature[t]).sample(chance[t])
            torch.testing.assert_close(got.action[t], action, rtol=1e-5, atol=1e-5)
            state = agent.world_model.rssm.step(agent.world_model.rssm.split(got.feature[t]), got.action[t], noise[t])
            torch.testing.assert_close(got.feature[t + 1][:, :width], state.deter, rtol=1e-5, atol=1e-5)
            assert torch.equal(got.feature[t + 1][:, width:], state.stoch.flatten(1))
        same_value(got.reward, agent.world_model.reward(got.feature), agent)
        live = agent.world_model.continuation(got.feature).squeeze(-1).sigmoid()
        torch.testing.assert_close(got.live, live, rtol=1e-5, atol=1e-6)
        same_value(got.slow, agent.actor_critic.slow_critic(got.feature[:-1]), agent)


@pytest.mark.parametrize("parts", [DEFAULT, kinds(actor="circuit", prior="circuit", critic="circuit")])
def test_threads_and_neighbours_change_nothing(parts: Factory) -> None:
    """To the bit: a row's rollout depends on that row alone."""
    agent = make(DISCRETE, parts)
    one, three = imagined(agent, 75)[0], imagined(agent, 75, threads=3)[0]
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def test_equal_tails_cancel_exactly() -> None:
    agent = make_agent()  # whose reward head is all zeros at first
    assert not imagined(agent, 40)[0].reward.any()


def test_what_is_not_finite_stays_so() -> None:
    agent = make(CONTINUOUS)
    with torch.no_grad():
        agent.world_model.rssm.cell.gates.weight[0, 0, 0] = torch.nan
    assert imagined(agent, 5)[0].feature[1:].isnan().any()


@pytest.mark.parametrize("parts", [DEFAULT, *MIXED])
def test_the_operators_of_pytorch_imagine_the_same(parts: Factory) -> None:
    agent, state = make(DISCRETE, parts), State(torch.zeros(2, 3, 16), torch.zeros(2, 3, 4, 3))
    with torch.no_grad():
        fast = agent.imagine(state, generator(3))
        slow = by_operators(agent).imagine(state, generator(3))
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
