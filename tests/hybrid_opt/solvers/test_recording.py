"""Problems that the project's own parts posed, kept in a file and tuned on."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import optuna
import pytest
import torch

import worldmodel.envs  # noqa: F401 - registers the environment
from hybrid_opt import ProblemError, Qubo, QuboSampler
from hybrid_opt.direction.optimizer import HybridOptimizer
from hybrid_opt.problem.file import load_problems, save_problems
from hybrid_opt.solvers import make_solver
from hybrid_opt.solvers.recording import Recording


def test_surrogates_of_a_search_are_kept_and_tuned_on(tmp_path: Path) -> None:
    solver = Recording(make_solver("exact"), tmp_path / "problems.npz", most=4)
    study = optuna.create_study(sampler=QuboSampler(solver=solver, n_startup_trials=5, seed=0))
    study.optimize(
        lambda trial: trial.suggest_int("a", 0, 3) * 0.5 - trial.suggest_categorical("b", [0, 1, 2]), n_trials=12
    )
    solver.close()
    problems = load_problems(tmp_path / "problems.npz")
    assert len(problems) == 4 and all(len(qubo.one_hot) == 2 for qubo in problems)
    for kept, asked in zip(problems, solver.problems, strict=True):
        assert np.array_equal(kept.matrix, asked.matrix)
    env: Any = gym.make("CircuitTuning-v0", families=("file",), file=str(tmp_path / "problems.npz"))
    env.reset(seed=0)
    assert 0 <= env.step(env.action_space.sample())[4]["ratio"] <= 1


def test_update_directions_are_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    data = torch.randn(8, 3)
    solver = Recording(make_solver("exact"), tmp_path / "problems.npz")
    optimizer: Any = HybridOptimizer(torch.optim.SGD(model.named_parameters(), lr=0.01), solver=solver, every=2)

    def loss(parameters: Any, batch: Any, generator: Any) -> Any:
        return torch.func.functional_call(model, parameters, (batch,)).square().mean()

    optimizer.attach(loss)
    for _ in range(6):
        optimizer.zero_grad()
        loss(dict(model.named_parameters()), data, None).backward()
        optimizer.step(batch=data)
    optimizer.close()
    solver.close()
    assert all(qubo.one_hot for qubo in load_problems(tmp_path / "problems.npz"))


def test_files_that_cannot_be_made_or_read_are_refused_in_one_line(tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing" / "problems.npz", tmp_path / "empty.npz"
    with pytest.raises(ProblemError, match="file=.*: no such folder"):
        Recording(make_solver("exact"), missing)
    with pytest.raises(ProblemError, match="file=.*: no such folder"):
        save_problems(missing, Qubo(np.eye(2)))
    with pytest.raises(ProblemError, match="at least one Qubo is needed"):
        save_problems(tmp_path / "problems.npz", [np.eye(2)])  # type: ignore[list-item]
    empty.touch()
    with pytest.raises(ProblemError, match="no file of problems, or a damaged one"):
        load_problems(empty)
    with pytest.raises(ProblemError, match="qubo: a int"):
        Recording(make_solver("exact"), tmp_path / "problems.npz").submit(5)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == [empty]
