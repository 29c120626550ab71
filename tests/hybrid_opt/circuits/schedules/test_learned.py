"""angles=learned: the policy file, the schedule's contract, and that it does what its environment did."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worldmodel.envs.circuits.instances import draw_qubo, draw_spins, qubo_of
from worldmodel.envs.circuits.qaoa_angles import TuningBatch, TuningConfig

from hybrid_opt.circuits.schedules.features import Progress, describe_qubo
from hybrid_opt.circuits.schedules.learned import Learned, TuningPolicy, learned
from hybrid_opt.circuits.schedules.table import transferred
from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simulator.qaoa import QaoaSimulator
from hybrid_opt.solvers import make_solver

RNG = np.random.default_rng(0)


def policy(seed: int = 0, scale: float = 0.3, **options: Any) -> TuningPolicy:
    rng = np.random.default_rng(seed)
    extra = options.get("stop", False) + options.get("choose_shots", False)
    sizes = [Progress.size("fourier"), 16, 6 + extra]
    weights = tuple(
        (rng.normal(size=pair) * scale / pair[0] ** 0.5, rng.normal(size=pair[1]) * scale) for pair in pairwise(sizes)
    )
    return TuningPolicy(weights, **options)


PROBLEMS = [
    Qubo(RNG.normal(size=(7, 7))),
    Qubo(RNG.normal(size=(8, 8)), one_hot=[(0, 1, 2), (4, 6)]),
    Qubo(RNG.normal(size=(8, 8)), cardinality=3),
]


@pytest.mark.parametrize("qubo", PROBLEMS, ids=str)
@pytest.mark.parametrize("shots", [None, 50])
def test_the_schedule_does_what_the_environment_did(qubo: Qubo, shots: int | None) -> None:
    """The same evaluations in the same order lead to the same best angles, up to the float32 of the simulation."""
    mlp = policy()
    batch = TuningBatch(TuningConfig(budget=6, shots=shots), 1)
    batch.put(0, qubo, 3)
    rng, seen = np.random.default_rng(1), []
    for _ in range(6):
        batch.step(mlp.act(batch.progress.observe()), rng)
        seen.append((float(batch.progress._energies[0, 0]), float(batch.progress.error[0])))
    oracle = QaoaSimulator(qubo, precision="complex128")

    class Replay:
        error = 0.0
        calls = 0

        def __call__(self, gammas: Any, betas: Any) -> float:
            value, error = seen[self.calls]
            exact = (oracle.value(gammas, betas)[0] - oracle.mean[0]) / oracle.std[0]
            assert value == pytest.approx(exact, abs=1e-5 if shots is None else 6 * error)
            self.calls += 1
            self.error = error * oracle.std[0]
            return float(value * oracle.std[0] + oracle.mean[0])

    replay = Replay()
    angles = Learned(mlp)(qubo, 3, replay, 6)
    assert replay.calls == 6
    assert np.stack(angles) == pytest.approx(np.stack(batch.progress.angles())[:, 0], abs=1e-4)


@pytest.mark.parametrize("layers", [1, 3, 12])
def test_a_policy_that_does_nothing_gives_the_transferred_angles(layers: int) -> None:
    mlp = policy(scale=0.0)
    for qubo in PROBLEMS:
        assert np.stack(Learned(mlp)(qubo, layers)) == pytest.approx(np.stack(transferred(qubo, layers)))


def test_the_description_does_not_know_the_unit_or_the_order_of_variables() -> None:
    for qubo in (PROBLEMS[0], PROBLEMS[2]):
        order = np.random.default_rng(0).permutation(qubo.n)
        other = Qubo(7.5 * qubo.matrix[np.ix_(order, order)], 3.0, cardinality=qubo.cardinality)
        assert describe_qubo(other).about == pytest.approx(describe_qubo(qubo).about)


def test_the_third_moment_is_the_energys_own() -> None:
    """Two of the numbers add up to the skewness of all 2^n energies."""
    about = describe_qubo(PROBLEMS[0]).about[0]
    energies = PROBLEMS[0].diagonal()
    skewness = np.mean((energies - energies.mean()) ** 3) / energies.std() ** 3
    assert about[2] + about[3] == pytest.approx(skewness)


def test_cobyla_goes_on_where_the_policys_evaluations_end() -> None:
    simulator = QaoaSimulator(PROBLEMS[0])
    values: list[float] = []

    def evaluate(gammas: Any, betas: Any) -> float:
        values.append(float(simulator.value(gammas, betas)[0]))
        return values[-1]

    angles = Learned(policy(budget=4))(PROBLEMS[0], 3, evaluate, 60)
    assert 30 < len(values) <= 60
    assert simulator.value(*angles)[0] == pytest.approx(min(values)) and min(values[4:]) < min(values[:4])


def test_a_stopping_policy_spends_less() -> None:
    mlp = policy(scale=0.0, stop=True)
    halting = TuningPolicy((*mlp.weights[:-1], (mlp.weights[-1][0], np.eye(7)[6])), stop=True)
    calls = []
    Learned(halting)(PROBLEMS[0], 2, lambda gammas, betas: float(len(calls)) + bool(calls.append(1)), 9)  # type: ignore[func-returns-value]
    assert len(calls) == 1


def test_the_file_comes_back_bit_for_bit(tmp_path: Path) -> None:
    mlp = policy(output="tanh", budget=7, choose_shots=True, about={"evaluations": 12})
    mlp.save(tmp_path / "a.npz")
    back = TuningPolicy.load(tmp_path / "a.npz")
    back.save(tmp_path / "b.npz")
    again = TuningPolicy.load(tmp_path / "b.npz")
    seen = np.random.default_rng(0).normal(size=(5, Progress.size("fourier"))).astype(np.float32)
    assert np.array_equal(back.act(seen), again.act(seen))
    assert back.act(seen) == pytest.approx(mlp.act(seen), abs=1e-6)
    assert (back.budget, back.output, back.choose_shots, back.about) == (7, "tanh", True, {"evaluations": 12})
    assert np.load(tmp_path / "a.npz", allow_pickle=False).files  # no pickle in it


def _damaged(file: Path, **changes: Any) -> None:
    with np.load(file) as arrays:
        content = dict(arrays)
    content.update(changes)
    np.savez(file, **{key: value for key, value in content.items() if value is not None})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": np.array(2)}, "format 2; 1 is read"),
        ({"matrix_0": None}, "matrix_0 is not a file"),
        ({"bias_1": np.full(6, np.nan)}, "NaN"),
        ({"matrix_0": np.zeros((3, 16))}, r"layer of shapes \(3, 16\)"),
        ({"settings": np.array(json.dumps({"shape": "spline"}))}, "spline"),
        ({"settings": np.array(json.dumps({"colour": "red"}))}, "colour"),
        ({"settings": np.array([{"a": 1}], object)}, "pickle"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    file = tmp_path / "policy.npz"
    policy().save(file)
    _damaged(file, **change)
    with pytest.raises(ProblemError, match=said) as refused:
        TuningPolicy.load(file)
    assert "\n" not in str(refused.value) and str(file) in str(refused.value)


@pytest.mark.parametrize("cut", [0, 10, 200, -30])
def test_a_torn_file_is_refused(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "policy.npz"
    policy().save(file)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(ProblemError, match=r"policy=.*damaged"):
        learned(file)


def test_the_solver_takes_a_policy_file(tmp_path: Path) -> None:
    """With exact values, with shots and without evaluations; the counts of circuits are the budget's."""
    file = tmp_path / "policy.npz"
    policy().save(file)
    options: dict[str, Any] = {"angles": "learned", "policy": str(file), "layers": 3, "shots": 64}
    for qubo in PROBLEMS:
        exact = make_solver("qaoa", **options, evaluations=5).solve(qubo)
        assert exact.cost.training.circuits == 5
        shots = make_solver("qaoa", **options, evaluations=5, optimizer="spsa").solve(qubo)
        assert shots.cost.training.shots == 5 * 128
        guess = make_solver("qaoa", **options, evaluations=0).solve(qubo)
        assert guess.cost.training.circuits == 0
        assert guess.angles == pytest.approx(np.stack(learned(file)(qubo, 3)))
    with pytest.raises(ProblemError, match="there is no such file"):
        make_solver("qaoa", angles="learned", policy="none.npz").solve(PROBLEMS[0])


@pytest.mark.parametrize("family", ["sk", "maxcut", "cardinality"])
def test_the_policy_that_ships_beats_the_transferred_angles(family: str) -> None:
    """On 30 new problems of 11 variables, more than it was trained on: the mean gain is above 2 standard errors."""
    rng, gains = np.random.default_rng(123), []
    for _ in range(30):
        if family == "cardinality":
            qubo = draw_qubo(family, 11, rng)
        else:
            qubo = qubo_of(draw_spins([family], np.array([11]), 11, "exponential", rng), 0)
        simulator = QaoaSimulator(qubo)
        ours, theirs = (simulator.value(*schedule(qubo, 3))[0] for schedule in (learned(), transferred))
        gains.append((theirs - ours) / simulator.std[0])
    assert np.mean(gains) > 2 * np.std(gains) / 30**0.5
