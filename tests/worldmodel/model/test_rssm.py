"""The recurrent model, against a loop with dense matrices and against torch.distributions."""

from typing import Literal

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, OneHotCategorical, kl_divergence
from torch.nn import functional as F

from tests.worldmodel.model.agents import SIZE, generator
from worldmodel.kernels.rssm_sequence import LOOPS
from worldmodel.model.batch import State
from worldmodel.model.categorical import kl, one_hot_sample, unimix
from worldmodel.model.cells.cell import Cell
from worldmodel.model.cells.gru import Loops
from worldmodel.model.rssm import RSSM, boxed
from worldmodel.model.size import ModelSize

EMBED, ACTION = 6, 2
K, S = SIZE.classes, SIZE.stoch


def make_rssm(loops: Loops | None = LOOPS) -> RSSM:
    """With every weight and bias away from its starting value."""
    model = RSSM(SIZE, EMBED, ACTION)
    model.loops = loops
    random = generator(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=random))
    return model


def random_state(rows: int, seed: int) -> State:
    random = generator(seed)
    stoch = F.one_hot(torch.randint(K, (rows, S), generator=random), K).float().transpose(1, 2)
    return State(torch.randn(rows, SIZE.deter, generator=random), stoch)


def sequence(steps: int, batch: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """embed, action (some beyond the unit box), is_first (none), noise."""
    random = generator(seed)
    embed = torch.randn(steps, batch, EMBED, generator=random)
    action = 2 * torch.randn(steps, batch, ACTION, generator=random)
    return embed, action, torch.zeros(steps, batch, dtype=torch.bool), torch.rand(steps, batch, 1, S, generator=random)


# Sampling


@pytest.mark.parametrize(("dim", "shape"), [(-1, (5, 7)), (-2, (2, 7, 3)), (0, (7, 2))])
def test_a_sample_is_one_hot(dim: int, shape: tuple[int, ...]) -> None:
    probs = torch.randn(*shape, generator=generator()).softmax(dim)
    for value in (0.0, 0.5, 1 - 2**-24):
        uniform = torch.full_like(probs.narrow(dim, 0, 1), value)
        sample = one_hot_sample(probs, uniform, dim)
        assert sample.shape == probs.shape and (sample.sum(dim) == 1).all() and ((sample == 0) | (sample == 1)).all()


def test_sample_has_the_exact_law() -> None:
    """Over an even grid of uniforms each class is drawn as often as its probability says, but for one grid point."""
    probs = torch.tensor([0.5, 0.003, 0.0, 0.247, 0.25])
    grid = (torch.arange(10_000) + 0.5) / 10_000
    counts = one_hot_sample(probs.expand(10_000, 5), grid.unsqueeze(1), -1).sum(0)
    torch.testing.assert_close(counts, 10_000 * probs, atol=1.0, rtol=0)


def test_sample_frequencies() -> None:
    probs = torch.rand(6, generator=generator(1)).softmax(0)
    uniform = torch.rand(100_000, 1, generator=generator(2))
    counts = one_hot_sample(probs.expand(100_000, 6), uniform, -1).sum(0)
    chi_square = ((counts - 100_000 * probs).square() / (100_000 * probs)).sum().item()
    assert chi_square < 20.5  # 5 degrees of freedom: exceeded with probability 0.001


def test_sample_where_rounding_leaves_the_sum_below_one() -> None:
    probs = torch.tensor([[0.3, 0.3, 0.39999]])
    assert one_hot_sample(probs, torch.tensor([[0.999995]]), -1).tolist() == [[0, 0, 1]]


def test_unimix() -> None:
    logits = torch.tensor([[0.0, -200.0, 0.0, 3.0], [50.0, 0.0, 0.0, 0.0]])
    probs = unimix(logits, -1)
    expected = 0.99 * Categorical(logits=logits.double()).probs + 0.0025
    torch.testing.assert_close(probs.double(), expected)
    assert probs.min() >= 0.0025
    torch.testing.assert_close(unimix(logits.T, 0), probs.T)
    assert unimix(logits.bfloat16(), -1).dtype == torch.float32


def test_kl() -> None:
    p, q = (torch.randn(2, 3, K, S, generator=generator(i)).softmax(-2) for i in (1, 2))
    p_law, q_law = (Independent(OneHotCategorical(x.double().transpose(-1, -2)), 1) for x in (p, q))
    torch.testing.assert_close(kl(p, q).double(), kl_divergence(p_law, q_law), rtol=1e-5, atol=1e-6)
    assert not kl(p, p).any()


# The recurrent model


def norm_act(x: Tensor, layer: nn.Module) -> Tensor:
    weight, eps = layer.weight, layer.eps
    assert isinstance(weight, Tensor) and isinstance(eps, float)
    return F.silu(F.rms_norm(x, weight.shape, weight, eps))


def dense(layer: nn.Module, x: Tensor, norm: nn.Module | None = None) -> Tensor:
    assert isinstance(layer, nn.Linear)
    y = F.linear(x, layer.weight, layer.bias)
    return y if norm is None else norm_act(y, norm)


def slow_core(model: RSSM, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
    """The block GRU as one sees it in the paper: every block reads its part of deter and all inputs."""
    action = action / action.abs().clamp(min=1)
    inputs = [
        dense(model.cell.deter_in, deter, model.cell.deter_norm),
        dense(model.cell.stoch_in, stoch.flatten(-2), model.cell.stoch_norm),
        dense(model.cell.action_in[0], action, model.cell.action_in[1]),
    ]
    joint = torch.cat([deter, *inputs], -1)
    mixing = torch.cat(
        [torch.block_diag(*model.cell.mix_deter.weight), model.cell.mix_state.weight.T, model.cell.mix_action.weight.T]
    )  # [D + 3 H, D]
    mixers = (model.cell.mix_deter, model.cell.mix_state, model.cell.mix_action)
    bias = sum(layer.bias.flatten() for layer in mixers if layer.bias is not None)
    hidden = norm_act(joint @ mixing + bias, model.cell.mix_norm)
    gates = hidden @ torch.block_diag(*model.cell.gates.weight) + model.cell.gates.bias.flatten()  # [N, G 3 D / G]
    reset, candidate, update = gates.unflatten(-1, (SIZE.blocks, 3, -1)).unbind(-2)
    update = update.sigmoid()
    new = update * torch.tanh(reset.sigmoid() * candidate) + (1 - update) * deter.unflatten(-1, (SIZE.blocks, -1))
    return new.flatten(-2)


def slow_posterior(model: RSSM, deter: Tensor, embed: Tensor) -> Tensor:
    weight = torch.cat([model.posterior.deter.weight, model.posterior.embed.weight], 1)
    hidden = norm_act(torch.cat([deter, embed], -1) @ weight.T + model.posterior.deter.bias, model.posterior.norm)
    logits = dense(model.posterior.out, hidden).unflatten(-1, (K, S))
    return 0.99 * logits.softmax(-2) + 0.01 / K


def slow_prior(model: RSSM, deter: Tensor) -> Tensor:
    x = deter
    trunk = model.prior_net.trunk
    for linear, norm in ((trunk[0], trunk[1]), (trunk[2], trunk[3])):
        x = dense(linear, x, norm)
    return 0.99 * dense(model.prior_net.out, x).unflatten(-1, (K, S)).softmax(-2) + 0.01 / K


def slow_sample(probs: Tensor, noise: Tensor) -> Tensor:
    """The first class whose cumulative probability exceeds the noise."""
    classes = (probs.cumsum(-2) > noise).int().argmax(-2)  # [N, S]
    return F.one_hot(classes, K).float().transpose(-1, -2)


both = pytest.mark.parametrize("loops", [LOOPS, None], ids=["kernels", "operators"])
"""Sequences by compiled kernels, as on the CPU, and by operators of PyTorch, as elsewhere."""


@both
@pytest.mark.parametrize("rows", [3, 35])
def test_observe_equals_a_naive_loop(rows: int, loops: Loops | None) -> None:
    model = make_rssm(loops)
    embed, action, is_first, noise = sequence(6, rows)
    is_first[2, 1] = is_first[4, 0] = is_first[0, 2] = True
    start = random_state(rows, 7)
    states, probs = model.observe(embed, action, is_first, start, noise)
    deter, stoch = start
    for t in range(6):
        for row in range(rows):
            if is_first[t, row]:
                deter, stoch = deter.clone(), stoch.clone()
                deter[row], stoch[row], action[t, row] = 0, 0, 0
        deter = slow_core(model, deter, stoch, action[t])
        post = slow_posterior(model, deter, embed[t])
        stoch = slow_sample(post, noise[t])
        torch.testing.assert_close(states.deter[t], deter, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(probs[t], post, rtol=1e-4, atol=1e-5)
        assert torch.equal(states.stoch[t], stoch)
        deter = states.deter[t]


@both
@pytest.mark.parametrize("rows", [2, 35])
def test_gradient_of_observe_equals_that_of_the_naive_loop(rows: int, loops: Loops | None) -> None:
    model = make_rssm(loops)
    embed, action, is_first, noise = sequence(4, rows)
    is_first[2, 0] = True
    embed.requires_grad_()
    start = random_state(rows, 7)
    random = generator(3)
    scale = torch.randn(4, rows, SIZE.feature, generator=random)

    states, _ = model.observe(embed, action, is_first, start, noise)
    fast = torch.autograd.grad((states.feature * scale).sum(), [embed, *model.parameters()], allow_unused=True)

    deter, stoch, total = *start, torch.zeros(())
    for t in range(4):
        keep = (~is_first[t]).float().unsqueeze(-1)
        deter = slow_core(model, deter * keep, stoch * keep.unsqueeze(-1), action[t] * keep)
        post = slow_posterior(model, deter, embed[t])
        stoch = slow_sample(post.detach(), noise[t]) + post - post.detach()
        total = total + (State(deter, stoch).feature * scale[t]).sum()
    slow = torch.autograd.grad(total, [embed, *model.parameters()], allow_unused=True)
    names = ["embed", *dict(model.named_parameters())]
    for name, ours, theirs in zip(names, fast, slow, strict=True):
        if name.startswith("prior_net"):
            assert ours is None and theirs is None
            continue
        assert ours is not None and theirs is not None and theirs.any(), name
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@both
def test_an_episode_that_starts_in_the_window_forgets_what_was_before(loops: Loops | None) -> None:
    model = make_rssm(loops)
    embed, action, is_first, noise = sequence(6, 2)
    is_first[3] = True
    whole, probs = model.observe(embed, action, is_first, random_state(2, 1), noise)
    other = torch.cat([9 * action[3:4], action[4:]])
    fresh, fresh_probs = model.observe(embed[3:], other, is_first[3:], random_state(2, 2), noise[3:])
    torch.testing.assert_close(whole.deter[3:], fresh.deter)  # rounding depends on the shape of a product
    assert torch.equal(whole.stoch[3:], fresh.stoch)
    torch.testing.assert_close(probs[3:], fresh_probs)


@both
def test_what_was_before_an_episode_reaches_nothing_even_if_it_is_not_finite(loops: Loops | None) -> None:
    """States, actions and gradients: NaN times 0 would stay NaN."""
    model = make_rssm(loops)
    embed, action, is_first, noise = sequence(4, 2)
    is_first[0] = is_first[2, 0] = True
    results = []
    for value in (0.0, torch.nan):
        action[0] = value
        action[2, 0] = value
        before = State(*(torch.full_like(part, value) for part in random_state(2, 1)))
        states, probs = model.observe(embed, action, is_first, before, noise)
        gradients = torch.autograd.grad(states.feature.square().sum() + probs.square().sum(), model.cell.gates.weight)
        results.append([*states, probs, *gradients])
    assert all(torch.equal(zeros, nans) for zeros, nans in zip(*results, strict=True))


@pytest.mark.parametrize(("fan_in", "std"), [("all", 0.0625), ("block", 0.1768)])
def test_initial_block_weights(fan_in: Literal["all", "block"], std: float) -> None:
    """The reference counts the inputs of all blocks: 1/sqrt(256), where one block has 32."""
    size = ModelSize(deter=256, hidden=64, classes=4, units=64, depth=4, fan_in=fan_in)
    model = RSSM(size, 64, 2)
    assert model.cell.gates.weight.std().item() == pytest.approx(std, rel=0.02)
    mixed = (8 if fan_in == "all" else 1) * (32 + 3 * 64)
    for weight in (model.cell.mix_deter.weight, model.cell.mix_state.weight, model.cell.mix_action.weight):
        assert weight.std().item() == pytest.approx(mixed**-0.5, rel=0.03)


@both
def test_no_gradient_crosses_the_start_of_an_episode(loops: Loops | None) -> None:
    model = make_rssm(loops)
    embed, action, is_first, noise = sequence(5, 2)
    is_first[3, 0] = True
    embed.requires_grad_()
    states, _ = model.observe(embed, action, is_first, random_state(2, 1), noise)
    (gradient,) = torch.autograd.grad((states.feature[4] * torch.arange(SIZE.feature)).sum(), embed)
    reached = gradient.abs().sum(-1) > 0  # [T, B]
    assert reached[:, 0].tolist() == [False, False, False, True, True]
    assert reached[:, 1].tolist() == [True] * 5


@both
def test_rows_do_not_mix(loops: Loops | None) -> None:
    model = make_rssm(loops)
    embed, action, is_first, noise = sequence(3, 4)
    start = random_state(4, 1)
    together, _ = model.observe(embed, action, is_first, start, noise)
    for row in range(4):
        one = slice(row, row + 1)
        alone, _ = model.observe(
            embed[:, one], action[:, one], is_first[:, one], State(start.deter[one], start.stoch[one]), noise[:, one]
        )
        torch.testing.assert_close(together.deter[:, one], alone.deter)
        assert torch.equal(together.stoch[:, one], alone.stoch)


def test_step_is_the_core_and_a_sample_of_the_prior() -> None:
    model = make_rssm()
    state, random = random_state(5, 1), generator(4)
    action, noise = 3 * torch.randn(5, ACTION, generator=random), torch.rand(5, 1, S, generator=random)
    new = model.step(state, action, noise)
    deter = slow_core(model, state.deter, state.stoch, action)
    torch.testing.assert_close(new.deter, deter, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.prior(new.deter), slow_prior(model, new.deter))
    assert torch.equal(new.stoch, slow_sample(slow_prior(model, new.deter), noise))


def test_large_actions_keep_their_direction_alone() -> None:
    model, state, noise = make_rssm(), random_state(1, 1), torch.full((1, 1, S), 0.5)
    one = model.step(state, torch.tensor([[1.0, -1.0]]), noise)
    assert torch.equal(model.step(state, torch.tensor([[50.0, -7.0]]), noise).deter, one.deter)
    assert not torch.equal(model.step(state, torch.tensor([[0.5, -1.0]]), noise).deter, one.deter)


def test_initial_state_is_zero_and_kept_at_first() -> None:
    model = RSSM(SIZE, EMBED, ACTION)
    state = model.initial(3)
    assert state.deter.shape == (3, SIZE.deter) and state.stoch.shape == (3, K, S)
    assert not state.feature.any() and state.feature.shape == (3, SIZE.feature)
    assert (model.cell.gates.bias[..., -SIZE.deter // SIZE.blocks :] == -1).all() and (
        model.cell.gates.bias == -1
    ).sum() == 16


def test_feature_is_deter_and_flat_latents() -> None:
    state = random_state(2, 1)
    feature = State(state.deter.expand(4, 2, -1), state.stoch.expand(4, 2, -1, -1)).feature
    assert feature.shape == (4, 2, SIZE.deter + S * K)
    assert torch.equal(feature[3, 1], torch.cat([state.deter[1], state.stoch[1].reshape(-1)]))


@pytest.mark.parametrize(("key", "value"), [("classes", 1), ("classes", 257), ("deter", 0), ("widht", 3)])
def test_model_size_is_checked(key: str, value: int) -> None:
    sizes = {"deter": 16, "hidden": 8, "classes": 4, "units": 8, "depth": 2}
    with pytest.raises(ValidationError, match=key):
        ModelSize(**sizes | {key: value})


def test_the_sequence_of_a_cell_that_has_none_of_its_own() -> None:
    """It goes by steps: that of the block GRU gives the same states."""
    model = make_rssm()
    embed, action, is_first, noise = sequence(6, 3)
    is_first[2, 1] = is_first[0, 2] = True
    start, first = random_state(3, 7), is_first.unsqueeze(-1)
    given = (model.posterior, model.posterior.seen(embed), boxed(action), first, noise, start)
    own, probs = model.cell.sequence(*given)
    plain, plain_probs = Cell.sequence(model.cell, *given)
    torch.testing.assert_close((*plain, plain_probs), (*own, probs))
    plain.stoch.sum().backward()  # straight through the samples
    assert model.posterior.out.weight.grad is not None
