"""Cells of the RSSM whose gates an approximator computes, on both bases."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.config import CircuitConfig
from tests.worldmodel.model.agents import SIZE, generator
from worldmodel.model.batch import State
from worldmodel.model.cells import CELLS
from worldmodel.model.cells.cell import Cell
from worldmodel.model.cells.gru import BlockGRU
from worldmodel.model.rssm import RSSM
from worldmodel.model.size import ModelSize

EMBED, ACTION = 6, 2
K, S = SIZE.classes, SIZE.stoch
CIRCUIT = CircuitConfig(qubits=3, layers=2)
KINDS = ("lstm", "mlp", "circuit", "product", "frozen", "fourier")
CASES = [(kind, base) for kind in KINDS for base in ("lstm", "gru")]
every = pytest.mark.parametrize(("kind", "base"), CASES)


def make_cell(kind: str, base: str, size: ModelSize = SIZE, seed: int = 0) -> Cell:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        cell: Cell = CELLS.find(kind, "model.cell")(size, ACTION, CIRCUIT, base)
    return cell


def make_rssm(kind: str, base: str) -> RSSM:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = RSSM(SIZE, EMBED, ACTION)
    model.cell = make_cell(kind, base)
    return model


def sequence(steps: int, rows: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """embed, action, is_first (none), noise."""
    random = generator(seed)
    action = 2 * torch.rand(steps, rows, ACTION, generator=random) - 1
    noise = torch.rand(steps, rows, 1, S, generator=random)
    return torch.randn(steps, rows, EMBED, generator=random), action, torch.zeros(steps, rows, dtype=torch.bool), noise


def start(rows: int, value: float | None = None) -> State:
    random = generator(9)
    state = State(torch.randn(rows, SIZE.deter, generator=random), torch.rand(rows, K, S, generator=random))
    return state if value is None else State(*(torch.full_like(part, value) for part in state))


def test_all_kinds_are_found() -> None:
    assert set(CELLS) == {*KINDS, "gru"}


@every
def test_every_parameter_changes_in_one_update(kind: str, base: str) -> None:
    """Those of the frozen control that are not trained stay."""
    model = make_rssm(kind, base)
    before = {name: value.detach().clone() for name, value in model.cell.named_parameters()}
    trained = {name for name, value in model.cell.named_parameters() if value.requires_grad}
    optimizer = torch.optim.SGD([value for value in model.cell.parameters() if value.requires_grad], lr=1.0)
    embed, action, is_first, noise = sequence(4, 5)
    states, probs = model.observe(embed, action, is_first, start(5), noise)
    scale = torch.randn(states.feature.shape, generator=generator(2))
    (states.feature * scale).sum().add(probs.square().sum()).backward()
    optimizer.step()
    changed = {name for name, value in model.cell.named_parameters() if (value != before[name]).any()}
    assert changed == trained
    untrained = {name.rpartition(".")[0].rpartition(".")[2] for name in before.keys() - trained}
    assert untrained == (
        {"body", *(("inputs", "state") if base == "lstm" else ("gates_in",))} if kind == "frozen" else set()
    )


@every
def test_what_was_before_an_episode_reaches_nothing_even_if_it_is_not_finite(kind: str, base: str) -> None:
    """States, probabilities and gradients: NaN times 0 would stay NaN."""
    model = make_rssm(kind, base)
    embed, action, is_first, noise = sequence(4, 2)
    is_first[0] = is_first[2, 0] = True
    results = []
    for value in (0.0, torch.nan):
        action[0] = value
        action[2, 0] = value
        states, probs = model.observe(embed, action, is_first, start(2, value), noise)
        given = [value for value in model.cell.parameters() if value.requires_grad]
        results.append([*states, probs, *torch.autograd.grad(states.deter.square().sum(), given)])
    assert all(torch.equal(zeros, nans) for zeros, nans in zip(*results, strict=True))
    assert all(part.isfinite().all() for part in results[0])


@every
def test_the_same_seed_gives_the_same_states(kind: str, base: str) -> None:
    given = sequence(3, 4)
    first, second = (make_rssm(kind, base).observe(*given[:3], start(4), given[3])[0] for _ in range(2))
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


@every
def test_rows_do_not_mix(kind: str, base: str) -> None:
    cell, state = make_cell(kind, base), start(5)
    action = torch.rand(5, ACTION, generator=generator(3))
    together = cell.step(state.deter, state.stoch.flatten(1), action)
    assert together.shape == state.deter.shape
    for row in range(5):
        one = slice(row, row + 1)
        alone = cell.step(state.deter[one], state.stoch[one].flatten(1), action[one])
        torch.testing.assert_close(together[one], alone, rtol=1e-4, atol=1e-5)


@every
def test_what_was_before_is_kept_at_first(kind: str, base: str) -> None:
    """Forget gates have a bias of 1, update gates one of -1, all else 0."""
    made: Any = make_cell(kind, base).base
    bias = (made.lstm.gates if base == "lstm" else made.approximator).bias
    expected = torch.zeros_like(bias)
    if base == "lstm":
        expected[1] = 1.0
    else:
        expected[..., -SIZE.deter // SIZE.blocks :] = -1.0
    assert torch.equal(bias.detach(), expected)


def test_linear_gates_make_the_block_gru() -> None:
    """The base with the gates of the classical cell is the classical cell."""
    ours, reference = make_cell("lstm", "gru"), BlockGRU(SIZE, ACTION)
    weights = {name.removeprefix("base."): value for name, value in ours.state_dict().items()}
    weights |= {"gates.weight": weights.pop("gates_in.weight"), "gates.bias": weights.pop("approximator.shift")}
    reference.load_state_dict(weights)
    state, action = start(6), torch.rand(6, ACTION, generator=generator(3))
    given = (state.deter, state.stoch.flatten(1), action)
    torch.testing.assert_close(ours.step(*given), reference.step(*given))


def test_an_lstm_has_two_states_in_deter() -> None:
    """h is bounded by 1, c is not; c of one step follows from the gates and c before."""
    cell: Any = make_cell("lstm", "lstm")
    deter = torch.cat([torch.zeros(2, SIZE.deter // 2), torch.full((2, SIZE.deter // 2), 50.0)], 1)
    h, c = cell.step(deter, torch.zeros(2, K * S), torch.zeros(2, ACTION)).chunk(2, 1)
    assert (h.abs() <= 1).all() and (c > 25).all()


def test_an_odd_deter_is_refused_in_one_line() -> None:
    size = ModelSize(deter=15, hidden=8, classes=4, units=20, depth=2, stoch=3, blocks=3)
    with pytest.raises(ProblemError, match="^size.deter=15: an even number is accepted, half for each state"):
        make_cell("circuit", "lstm", size)


def test_the_product_control_differs_in_entanglers_alone() -> None:
    cells: list[Any] = [make_cell(kind, "lstm") for kind in ("circuit", "product")]
    circuit, product = (cell.base.lstm.gates.body for cell in cells)
    assert circuit.scale.shape == product.scale.shape
    assert (product.plan.source == torch.arange(8)).all() and not (circuit.plan.source == torch.arange(8)).all()
