"""The pairwise models against brute-force losses and exact Hessians."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hybrid_opt import Qubo
from hybrid_opt.direction.config import MOVES
from hybrid_opt.direction.loss_model import NoReference, Trials, by_curvature, by_losses, subsets, sums
from hybrid_opt.direction.moves import Blocks, Moves, Span
from hybrid_opt.errors import ProblemError

SIZES = (3, 1, 2, 4)


def parameters(seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        f"p{i}": torch.randn(size, generator=random, dtype=torch.float64, requires_grad=True)
        for i, size in enumerate(SIZES)
    }


def flat(values: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([values[f"p{i}"] for i in range(len(SIZES))])


def quadratic(values: Mapping[str, Tensor], batch: Any, generator: torch.Generator) -> Tensor:
    """Indefinite, with all parameters coupled."""
    random = torch.Generator().manual_seed(5)
    matrix = torch.randn(10, 10, generator=random, dtype=torch.float64)
    x = flat(values)
    return x @ matrix @ x + x.sum()


def curved(values: Mapping[str, Tensor], batch: Any, generator: torch.Generator) -> Tensor:
    x = flat(values)
    noise = torch.randn(10, generator=generator, dtype=torch.float64)
    return (x + noise).sin().prod() + x.exp().sum() + x[0] * x[4] * x[7]


def moves_of(blocks: Blocks, trust: float = 1.5) -> Moves:
    random = torch.Generator().manual_seed(1)
    steps = [[0.1 * torch.randn(t.shape, generator=random, dtype=t.dtype) for t in blocks.values] for _ in range(3)]
    return Moves(blocks, MOVES, steps[0], {"momentum": steps[1], "last": steps[2]}, trust)


def everything(blocks: Blocks, moves: Moves) -> list[tuple[int, ...]]:
    return list(product(range(len(moves.names)), repeat=blocks.count))


def bits_of(levels: list[tuple[int, ...]], count: int) -> Any:
    return np.eye(count, dtype=np.uint8)[np.array(levels)].reshape(len(levels), -1)


@pytest.mark.parametrize("model", [by_losses, by_curvature])
def test_a_quadratic_loss_is_modelled_exactly(model: Any) -> None:
    blocks = Blocks(parameters(), 4)
    assert blocks.count == 4
    trials, moves = Trials(quadratic, blocks, None, 0), moves_of(Blocks(parameters(), 4))
    qubo, base = model(trials, moves)
    levels = everything(blocks, moves)
    losses = trials.losses(moves.span, moves.offsets_of(np.array(levels)))
    energies = qubo.energy(bits_of(levels, 6))
    assert qubo.feasible(bits_of(levels, 6)).all() and len(levels) == qubo.feasible_space().size == 6**4
    assert energies == pytest.approx(losses, rel=1e-9, abs=1e-9)
    assert base == pytest.approx(quadratic(blocks.parameters, None, torch.Generator()).item())


def test_pairs_of_any_loss_are_modelled_exactly() -> None:
    blocks = Blocks(parameters(), [["p0"], ["p1", "p3"], ["p2"]])
    trials = Trials(curved, blocks, None, 7)
    moves = moves_of(blocks)
    qubo, _ = by_losses(trials, moves)
    assert trials.forwards == 1 + 3 * 5 + 3 * 25 and trials.gradients == 0
    levels = [row for row in everything(blocks, moves) if sum(k != moves.base for k in row) <= 2]
    losses = trials.losses(moves.span, moves.offsets_of(np.array(levels)))
    assert qubo.energy(bits_of(levels, 6)) == pytest.approx(losses, rel=1e-9, abs=1e-9)
    full = [row for row in everything(blocks, moves) if sum(k != moves.base for k in row) == 3]
    gap = qubo.energy(bits_of(full, 6)) - trials.losses(moves.span, moves.offsets_of(np.array(full)))
    assert np.abs(gap).max() > 1e-6  # three at once are not


def test_the_moves_are_what_they_are_called() -> None:
    blocks = Blocks(parameters(), 4)
    trust, moves = 2.5, moves_of(blocks, 2.5)
    step, momentum, last = moves.span.directions
    lengths = blocks.norms(step)
    for level, name in enumerate(moves.names):
        point = moves.span.displaced(blocks.values, moves.offsets_of(np.full(4, level)))
        moved = [a - (b - s) for a, b, s in zip(point, blocks.values, step, strict=True)]  # from before the base step
        factor = {"skip": 0.0, "half": 0.5, "base": 1.0, "double": 1 + trust}.get(name)
        for i, tensor in enumerate(moved):
            along = step[i] if factor is not None else (momentum if name == "momentum" else last)[i]
            length = factor if factor is not None else trust * lengths[i] / torch.linalg.vector_norm(along).item()
            assert torch.allclose(tensor, length * along), name


def test_curvature_is_the_hessian_in_the_span() -> None:
    blocks = Blocks(parameters(), 4)
    trials, moves = Trials(curved, blocks, None, 3), moves_of(blocks, 1.0)
    qubo, base = by_curvature(trials, moves, step=1e-5)
    assert trials.gradients == 1 + 4 * 3

    def of(x: Tensor) -> Tensor:
        named = {f"p{i}": part for i, part in enumerate(x.split(SIZES))}
        return curved(named, None, torch.Generator().manual_seed(3))

    x = flat(blocks.parameters).detach()
    gradient = torch.autograd.functional.jacobian(of, x)
    hessian: Any = torch.autograd.functional.hessian(of, x)
    levels = everything(blocks, moves)[::7]
    for row in levels:
        point = moves.span.displaced(blocks.values, moves.offsets[np.array(row)])
        d = torch.cat(point) - x
        expected = base + gradient @ d + 0.5 * d @ hessian @ d
        assert qubo.energy(bits_of([row], 6)[0]) == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)


def test_subsets_are_exact_up_to_two() -> None:
    blocks = Blocks(parameters(), 4)
    trials = Trials(curved, blocks, None, 1)
    way = [torch.ones_like(t) for t in blocks.values]
    span = Span(blocks, [way], np.full((4, 1), 0.3))
    places = [(b, 0, multiple) for b in range(4) for multiple in (-1.0, 2.0)]
    qubo, here = subsets(trials, span, places)
    assert trials.forwards == 1 + 8 * 9 // 2 and isinstance(qubo, Qubo) and not qubo.constrained
    bits = ((np.arange(256)[:, None] >> np.arange(8)) & 1).astype(np.uint8)
    few = bits[bits.sum(1) <= 2]
    assert qubo.energy(few) == pytest.approx(trials.losses(span, sums(few, places, (4, 1))), rel=1e-9, abs=1e-9)
    assert here == trials.at([blocks.values])[0]


@pytest.mark.parametrize("chunk", [2, 7, 1000])
def test_trial_points_are_evaluated_in_chunks(chunk: int) -> None:
    blocks = Blocks(parameters(), 3)
    moves = moves_of(blocks)
    offsets = moves.offsets_of(np.array(everything(blocks, moves)[:20]))
    one, many = Trials(curved, blocks, None, 7), Trials(curved, blocks, None, 7, chunk)
    assert many.losses(moves.span, offsets) == pytest.approx(one.losses(moves.span, offsets), rel=1e-12)
    assert many.forwards == one.forwards == 20


def test_infinite_losses_are_large_ones_and_an_infinite_reference_is_none() -> None:
    blocks = Blocks(parameters(), 4)
    moves = moves_of(blocks)

    def cliff(values: Mapping[str, Tensor], batch: Any, generator: torch.Generator) -> Tensor:
        x = flat(values)
        return torch.where(x[0] > x0 + 1e-9, torch.inf, x.square().sum())

    x0 = blocks.parameters["p0"][0].item()
    qubo, _ = by_losses(Trials(cliff, blocks, None, 0), moves)
    best, energy = qubo.minimum()
    levels = best.reshape(4, 6).argmax(1)
    assert np.isfinite(energy) and np.isfinite(
        Trials(cliff, blocks, None, 0).losses(moves.span, moves.offsets_of(levels[None]))[0]
    )
    x0 -= 1.0
    for model in (by_losses, by_curvature):
        with pytest.raises(NoReference):
            model(Trials(cliff, blocks, None, 0), moves)


def test_a_loss_has_to_be_one_number() -> None:
    blocks = Blocks(parameters(), 2)
    with pytest.raises(ProblemError, match="a tensor with one number"):
        Trials(lambda p, b, g: p["p0"], blocks, None, 0).at([blocks.values])


def test_blocks_are_balanced_and_in_order() -> None:
    values = {f"p{i}": torch.zeros(10) for i in range(12)}
    blocks = Blocks(values, 4)
    assert blocks.of == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3] and blocks.names == list(values)
    assert Blocks({"a": torch.zeros(100), "b": torch.zeros(1)}, 4).count == 2
