"""Whole runs with optimizer=hybrid, and the loss that it is given."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hybrid_opt.direction.optimizer import HybridOptimizer
from tests.worldmodel.model.agents import make_agent, make_windows
from tests.worldmodel.train.runs import line_of, rows, train
from worldmodel.train.hybrid import WORLD_MODEL, model_loss, some
from worldmodel.train.laprop import LaProp

QUICK = (
    *("optimizer=hybrid", "solver=exact", "deterministic=true", "optimizer.every=4", "optimizer.slowest=2"),
    *("optimizer.blocks=2", "optimizer.windows=2", "log.every=20"),
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_loss_is_the_agents_own() -> None:
    agent = make_agent()
    windows = make_windows(agent)
    rows_of = len(windows.weight)
    loss = model_loss(agent, torch.float32, rows_of)
    own = {name: p for name, p in agent.named_parameters() if name.startswith(WORLD_MODEL)}
    with torch.no_grad():
        expected = (agent.model_loss(windows, generator()) * windows.weight).mean()
        assert torch.equal(loss(own, windows, generator()), expected)
        moved = {name: p + 0.01 for name, p in own.items()}
        other = loss(moved, windows, generator())
        assert not torch.equal(other, expected) and torch.equal(loss(own, windows, generator()), expected)
        for name, p in agent.named_parameters():
            if name in own:
                p.copy_(moved[name])
        assert torch.equal(loss({}, windows, generator()), other)


def test_some_windows() -> None:
    agent = make_agent()
    windows = make_windows(agent)
    one = some(windows, 1)
    assert one.weight.shape == (1,) and one.reward.shape[1] == 1 and one.before.state.deter.shape[0] == 1
    assert all(value.shape[1] == 1 for value in one.observation.values())
    assert torch.equal(some(windows, 99).reward, windows.reward)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["losses", "curvature"])
def test_it_lowers_the_model_loss_of_its_batch(model: str) -> None:
    agent = make_agent()
    windows = make_windows(agent)
    named = [(name, p) for name, p in agent.named_parameters() if p.requires_grad]
    optimizer = HybridOptimizer(LaProp(named, lr=1e-3), solver="exact", every=2, slowest=1, blocks=3, model=model)
    loss = model_loss(agent, torch.float32, 2)
    optimizer.attach(loss, [(name, p) for name, p in named if name.startswith(WORLD_MODEL)])
    for seed in range(8):
        optimizer.zero_grad()
        agent.losses(windows, generator(seed)).total.backward()
        optimizer.step(batch=windows)
    assert optimizer.counts.accepted >= 1 and optimizer.counts.raised == 0


@pytest.mark.slow
def test_a_run_says_what_was_predicted_and_what_came(tmp_path: Path) -> None:
    assert train(*QUICK, "steps=200", f"logdir={tmp_path / 'run'}") == 0
    row: dict[str, Any] = [row for row in rows(tmp_path / "run") if "quantum/choices" in row][-1]
    assert row["quantum/choices"] >= 2 and row["quantum/raised"] == 0 and row["quantum/overhead"] > 0
    assert {"quantum/predicted_gain", "quantum/actual_gain", "quantum/acceptance", "time/direction_share"} <= row.keys()
    assert row["quantum/evaluations"] > 0


@pytest.mark.slow
def test_continued_equals_not_stopped(tmp_path: Path) -> None:
    constant = ("optimizer.final_rate=1", "behavior.entropy=1e-3", "behavior.final_entropy=1e-3")  # over any run
    words = (*QUICK, *constant, "optimizer.escape.patience=5")
    assert train(*words, "steps=240", f"logdir={tmp_path / 'whole'}", "eval.final_episodes=1") == 0
    for steps in (130, 240):
        assert train(*words, f"steps={steps}", f"logdir={tmp_path / 'run'}", "eval.final_episodes=1") == 0
    whole, run = (
        [row for row in rows(tmp_path / name) if row["step"] > 130 and "quantum/choices" in row]
        for name in ("whole", "run")
    )
    assert len(whole) > 3 and whole[-1]["quantum/escape_attempts"] > 0
    strip = [{key: value for key, value in row.items() if not key.startswith("time/")} for row in whole]
    assert strip == [{key: value for key, value in row.items() if not key.startswith("time/")} for row in run]


@pytest.mark.slow
def test_an_infinite_cadence_is_the_base(tmp_path: Path) -> None:
    words = ("deterministic=true", "steps=150", "log.every=20")
    assert train(*words, f"logdir={tmp_path / 'base'}") == 0
    assert train(*words, *QUICK, "optimizer.every=null", f"logdir={tmp_path / 'hybrid'}") == 0
    keys = ("step", "episode/return", "loss/model", "loss/actor")
    base, hybrid = ([[row.get(key) for key in keys] for row in rows(tmp_path / name)] for name in ("base", "hybrid"))
    assert base == hybrid


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("optimizer.solver=qaoaa",), "optimizer.solver=qaoaa: no such solver; did you mean qaoa?"),
        (("optimizer.every=0",), "optimizer.every=0: "),
        (("optimizer.moves=[skip]",), "optimizer.moves"),
        (("optimizer.backend=nowhere",), "backend=nowhere: no such backend"),
        (("optimizer.windows=5",), "optimizer.windows=5: at most batch_size=4 is accepted"),
        (("solver=vqe", "optimizer.blocks=8"), "solver=vqe: "),
        (("solver=qaoa", "solver.layers=0"), "solver.layers=0"),
        (("optimizer.escape.patience=-1",), "optimizer.escape.patience=-1: "),
    ],
)
def test_wrong_input(words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("optimizer=hybrid", *words, f"logdir={tmp_path / 'run'}") == 2
    assert message in line_of(capsys.readouterr().err)
