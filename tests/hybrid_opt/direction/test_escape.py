"""Escapes: out of a trap with a known minimum, and only where fresh data agree."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hybrid_opt import Qubo
from hybrid_opt.direction.optimizer import HybridOptimizer

N = 10


def glass(seed: int) -> Qubo:
    rng = np.random.default_rng(seed)
    return Qubo.from_ising(0.1 * rng.normal(size=N), np.triu(rng.normal(size=(N, N)), 1))


class Trapped:
    """N parameters, each a block; the loss is a spin glass in cos(pi x): every grid point is a critical point, and the
    local minima of the glass are those of the loss."""

    def __init__(self, seed: int = 8, **escape: Any) -> None:
        self.qubo = glass(seed)
        h, j, self.offset = self.qubo.to_ising()
        self.h, self.j = torch.from_numpy(h), torch.from_numpy(j)
        random = torch.Generator().manual_seed(seed)
        start = 0.8 * torch.rand(N, generator=random, dtype=torch.float64) + 0.1
        self.parameters = {f"x{i}": value.clone().reshape(1).requires_grad_() for i, value in enumerate(start)}
        base = torch.optim.SGD(list(self.parameters.items()), lr=0.01)  # type: ignore[arg-type]
        options = {"patience": 30, "blocks": N, "directions": 1, "multiples": (1.0,), "length": 1.0, "unit": "absolute"}
        self.optimizer = HybridOptimizer(base, solver="exact", every=None, escape={**options, **escape})
        self.optimizer.attach(self.loss)

    def loss(self, values: Mapping[str, Tensor], batch: Any, generator: torch.Generator) -> Tensor:
        s = torch.cos(torch.pi * torch.cat([values[f"x{i}"] for i in range(N)]))
        value = self.offset + self.h @ s + s @ self.j @ s
        return value if batch is None else value * batch

    def steps(self, count: int, batch: Any = None) -> float:
        for _ in range(count):
            self.optimizer.zero_grad()
            loss = self.loss(self.parameters, None, torch.Generator())
            loss.backward()
            self.optimizer.step(loss=loss, batch=batch)
        return loss.item()


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["exact", "path_integral", "vqe", pytest.param("qaoa", marks=pytest.mark.slow)])
def test_it_finds_the_minimum_of_the_grid(solver: str) -> None:
    trapped = Trapped(solver=solver)
    _, minimum = trapped.qubo.minimum()
    counts = trapped.optimizer._escape.counts  # type: ignore[union-attr]
    stuck = float("nan")
    while counts.taken == 0 and counts.attempts < 4:
        stuck = trapped.steps(1)
    assert counts.taken == 1 and counts.gain > 0
    assert trapped.steps(60) == pytest.approx(minimum, abs=1e-3) and stuck > minimum + 0.1


@pytest.mark.parametrize("seed", [8, 9, 10])
def test_parameters_that_never_moved_can_jump_too(seed: int) -> None:
    """They start where every gradient is 0 to the last bit, so that training went nowhere."""
    trapped = Trapped(seed, solver="exact")
    with torch.no_grad():
        for parameter in trapped.parameters.values():
            parameter.fill_(0.0)
    _, minimum = trapped.qubo.minimum()
    first = trapped.steps(1)
    assert trapped.steps(100) == pytest.approx(minimum, abs=1e-3) and first > minimum + 0.1


def test_a_jump_that_fresh_data_refuse_is_not_taken() -> None:
    """On the batch of the problem the loss is as it is, on all others it is upside down."""
    trapped = Trapped(solver="exact")
    escape = trapped.optimizer._escape
    assert escape is not None
    while not escape._jump:
        trapped.steps(1, torch.tensor(1.0))
    before = {name: p.detach().clone() for name, p in trapped.parameters.items()}
    trapped.steps(1, torch.tensor(-1.0))
    assert escape.counts.found == 1 and escape.counts.taken == 0 and not escape._jump
    assert all((p - before[name]).abs().item() < 0.01 for name, p in trapped.parameters.items())  # the base's step


def test_it_waits_longer_after_every_attempt_in_vain() -> None:
    trapped = Trapped(solver="exact")
    trapped.steps(700)
    counts = trapped.optimizer._escape.counts  # type: ignore[union-attr]
    assert counts.taken == 1  # at the minimum of the grid nothing is found
    attempts = counts.attempts
    trapped.steps(240)
    assert counts.attempts - attempts <= 1 and counts.found == 1


def test_a_loss_that_falls_is_left_alone() -> None:
    parameter = torch.full((4,), 100.0, requires_grad=True)
    optimizer = HybridOptimizer(
        torch.optim.SGD([("x", parameter)], lr=0.01),  # type: ignore[list-item]
        solver="exact",
        every=None,
        escape={"patience": 5},
    )
    optimizer.attach(lambda values, batch, generator: values["x"].square().sum())
    for _ in range(60):
        loss = parameter.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(loss=loss)
    assert optimizer.metrics()["escape_attempts"] == 0


def test_it_needs_the_loss() -> None:
    trapped = Trapped()
    with pytest.raises(ValueError, match="needs the loss of every step"):
        trapped.optimizer.step()
