"""Problems that the project's own parts posed, kept in a file and tuned on."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import optuna
import torch

import envs  # noqa: F401 - registers the environment
from hybrid_opt import QuboSampler
from hybrid_opt.direction import HybridOptimizer
from hybrid_opt.problem_file import load_problems
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
