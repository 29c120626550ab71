"""Tasks for a part that stands alone: their data, their figures, and that they run from a seed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.worldmodel.compare.tasks.test_tasks import fit, rows
from tests.worldmodel.train.runs import line_of
from worldmodel.cli.compose import configured
from worldmodel.compare.config import CompareConfig
from worldmodel.compare.planning import planned
from worldmodel.compare.tasks.losses import Task
from worldmodel.compare.tasks.mixtures import TRAIN, curves, moons
from worldmodel.compare.tasks.narma import BLIND, narma
from worldmodel.compare.tasks.parts import PARTED
from worldmodel.fit.config import FitConfig


def make(task: str, seed: int = 0, *words: str) -> Task:
    config = configured("fit", FitConfig, [f"task={task}", "optimizer=adam", *words])
    return PARTED[task](seed, config.parts, config.units)


ROUTED = ("model.front=none", "model.experts=2", "circuit.qubits=2", "circuit.layers=1")


def test_narma_follows_its_recurrence() -> None:
    """Written out anew from the paper, by a queue of the last five inputs and outputs."""
    u, y = narma(np.random.default_rng(3), 200)
    assert ((u >= 0) & (u < 0.5)).all() and (y[:5] == 0).all()
    inputs, outputs = list(u[:5]), [0.0] * 5
    for t in range(5, 200):
        now = 0.3 * outputs[-1] + 0.05 * outputs[-1] * sum(outputs) + 1.5 * inputs[0] * inputs[-1] + 0.1
        assert y[t] == pytest.approx(now, rel=1e-12)
        inputs, outputs = [*inputs[1:], u[t]], [*outputs[1:], now]
    assert np.isfinite(y).all() and y.max() < 1


def test_the_error_of_narma_is_one_for_the_mean_and_none_for_the_truth() -> None:
    task = make("narma", 0, "model.cell=lstm")
    targets = task.held_out[1]

    def error(prediction: torch.Tensor) -> float:
        return float(((prediction - targets)[BLIND:].square().mean() / targets[BLIND:].var()).sqrt())

    assert error(targets) == 0.0
    assert error(targets[BLIND:].mean().expand_as(targets)) == pytest.approx(1.0, abs=0.01)
    with torch.no_grad():
        assert task.test() == pytest.approx(error(task.model(task.held_out[0])), rel=1e-5)


def test_inputs_of_narma_cause_its_targets() -> None:
    """A window's target at t is a function of its inputs up to t: the recurrence holds among them."""
    task = make("narma", 0, "model.cell=lstm")
    u = task.held_out[0].squeeze(-1).double() / 48**0.5 + 0.25  # [T, N], u(t - 1) at t
    y = task.held_out[1].double()
    columns = [y[4:-1], y[4:-1] * sum(y[k : len(y) - 5 + k] for k in range(5)), u[1:-4] * u[5:], torch.ones_like(u[5:])]
    columns += [sum(y[k : len(y) - 5 + k] for k in range(5))]  # outputs are shifted and scaled
    design = torch.stack(columns, -1).flatten(0, 1)
    solution = torch.linalg.lstsq(design, y[5:].flatten()[:, None]).solution
    assert (design @ solution)[:, 0].sub(y[5:].flatten()).abs().max() < 1e-5


@pytest.mark.parametrize("generator", [moons, curves])
def test_classes_are_even_and_come_from_the_seed(generator: Any) -> None:
    points, label = generator(np.random.default_rng(0), 4000)
    again, _ = generator(np.random.default_rng(0), 4000)
    assert np.array_equal(points, again) and set(label) == {0, 1} and abs(label.mean() - 0.5) < 0.03


def test_moons_lie_on_half_circles() -> None:
    points, label = moons(np.random.default_rng(0), 4000)
    for which, centre in ((0, (0.0, 0.0)), (1, (1.0, 0.5))):
        distance = np.linalg.norm(points[label == which] - centre, axis=1)
        assert distance.mean() == pytest.approx(1.0, abs=0.02) and distance.std() == pytest.approx(0.1, abs=0.02)


def test_what_is_held_out_is_not_learned_from() -> None:
    """Points lie in [0, pi] as far as they are learned from, and held-out ones come after them."""
    task = make("moons", 0, "model.router=linear", *ROUTED)
    x, y = task.batch(np.random.default_rng(0))
    assert x.min() >= 0 and x.max() <= np.pi + 1e-5 and len(task.held_out[0]) == 4 * TRAIN
    assert not any((task.held_out[0] == row).all(1).any() for row in x) and set(y.tolist()) == {0, 1}


@pytest.mark.parametrize("router", ["none", "linear", "mlp", "fourier", "circuit", "product", "frozen"])
def test_every_parameter_of_a_mixture_changes_in_one_update(router: str) -> None:
    task = make("moons", 0, f"model.router={router}", *ROUTED)
    before = {name: value.detach().clone() for name, value in task.parameters.items()}
    rng = np.random.default_rng(0)
    optimizer = torch.optim.Adam(list(task.parameters.values()), lr=0.05)
    task.loss(task.parameters, task.batch(rng), torch.Generator()).backward()
    optimizer.step()
    assert [name for name, value in task.parameters.items() if torch.equal(value, before[name])] == []


@pytest.mark.parametrize(
    "words",
    [
        ["task=moons", "model.router=circuit", *ROUTED],
        ["task=narma", "model.cell=circuit", "circuit.qubits=2", "circuit.layers=1", "units=3"],
    ],
    ids=["router", "cell"],
)
def test_runs_repeat_to_the_bit(tmp_path: Path, words: list[str]) -> None:
    for name in "ab":
        assert fit(*words, "optimizer=adam", "steps=20", "test_every=10", f"logdir={tmp_path / name}") == 0
    found = rows(tmp_path / "a")
    assert found == rows(tmp_path / "b") and len(found) == 2
    assert all(-2 < row["eval/return"] < 0 for row in found)


@pytest.mark.slow
def test_a_curved_router_beats_a_linear_one_on_moons() -> None:
    """Seed 0: one line leaves an error of about 12 %."""
    errors = {}
    for router in ("linear", "circuit"):
        task = make("moons", 0, f"model.router={router}", *ROUTED[:-1], "circuit.layers=3")
        optimizer = torch.optim.Adam(list(task.parameters.values()), lr=0.05)
        rng = np.random.default_rng(0)
        for _ in range(480):
            optimizer.zero_grad()
            task.loss(task.parameters, task.batch(rng), torch.Generator()).backward()
            optimizer.step()
        errors[router] = task.test()
    assert errors["circuit"] < errors["linear"] < 0.2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["task=moons", "model.router=lineer"], "model.router=lineer: no such head; did you mean linear?"),
        (["task=narma", "model.cell=gru"], "a cell that names its gates is accepted, such as circuit or lstm"),
        (["task=narma", "units=0"], "units=0"),
    ],
)
def test_wrong_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    assert fit(*words, "optimizer=adam", f"logdir={tmp_path / 'x'}") == 2
    assert line in line_of(capsys.readouterr().err)


def test_a_task_without_parts_is_configured_as_before() -> None:
    """So that comparisons of earlier versions continue."""
    values = configured("fit", FitConfig, ["task=digits"]).as_dict()
    assert not {"model", "circuit", "units"} & values.keys()


@pytest.mark.parametrize(("suite", "arms"), [("router", 10), ("narma", 6)])
def test_suites_compose(suite: str, arms: int) -> None:
    config = configured("compare", CompareConfig, [f"suite={suite}", "logdir=x"])
    plan = planned(config)
    assert len(plan.arms) == arms and plan.kind.name == "fit"
    assert {arm.role for arm in plan.arms.values()} == {"reference", "arm", "control"}
