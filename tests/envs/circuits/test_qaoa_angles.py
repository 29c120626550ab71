"""Circuit tuning: the environments' contracts, and what they compute against independent simulations."""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_for_sb3
from worldmodel.envs.circuits.instances import draw_spins, qubo_of
from worldmodel.envs.circuits.qaoa_angles import GAIN, CircuitTuningVector, TuningBatch, TuningConfig
from worldmodel.envs.errors import EnvironmentRefused

import worldmodel.envs  # noqa: F401 - registers them
from hybrid_opt.circuits.schedules.table import transferred
from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.file import load_problems, save_problems
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simulator.qaoa import QaoaSimulator
from worldmodel.baseline.vec_env import TuningVecEnv

ALL: dict[str, Any] = {"families": ("maxcut", "sk", "qubo", "onehot", "cardinality"), "layers": (1, 3)}
OPTIONS: list[dict[str, Any]] = [
    {},
    {**ALL, "stop": True, "choose_shots": True, "noise": 0.05, "shape": "ramp", "shot_price": 0.1},
    {"shots": 64, "noise": 0.02, "sizes": (4, 6)},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_gymnasium_and_stable_baselines3_find_nothing_wrong(options: dict[str, Any]) -> None:
    env = gym.make("CircuitTuning-v0", **options).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)
        check_for_sb3(env)


@pytest.mark.parametrize("options", [{}, {"shots": 64, "noise": 0.02, "layers": 2, "families": ["qubo"]}])
def test_the_ansatz_environment_passes_too(options: dict[str, Any]) -> None:
    env = gym.make("AnsatzTuning-v0", **options).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)
        check_for_sb3(env)


def test_the_ansatz_finds_the_minimum_by_greedy_moves() -> None:
    """Random changes improve the best energy, and the reward adds up to the improvement."""
    env = gym.make("AnsatzTuning-v0", size=4, budget=200).unwrapped
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    rewards, over = 0.0, False
    while not over:
        _, reward, over, _, info = env.step(rng.normal(size=8) * 0.5)
        assert reward >= 0
        rewards += reward
    assert rewards == pytest.approx(-GAIN * env._value)  # type: ignore[attr-defined]
    assert info["ratio"] > 0.9


def test_values_are_those_of_the_simulator_for_every_family() -> None:
    """Against QaoaSimulator in complex128; float32 amplitudes are good to 1e-5 standard deviations."""
    rng = np.random.default_rng(1)
    batch = TuningBatch(TuningConfig(**ALL, sizes=(4, 9)), 24)
    batch.begin(np.arange(24), rng)
    problems = [batch.qubos[row] for row in range(24)]
    gammas, betas = batch.progress.propose(rng.uniform(-1, 1, (24, 6)))
    values = batch.simulator.values(gammas, betas + 0.9)  # so that some angles pass pi / 4
    checked = 0
    for row, qubo in enumerate(problems):
        if qubo is None:
            continue
        p = batch.progress.layers[row]
        oracle = QaoaSimulator(qubo, precision="complex128")
        expected = (oracle.value(gammas[row, :p], betas[row, :p] + 0.9)[0] - oracle.mean[0]) / oracle.std[0]
        if p == 3:
            assert values[row] == pytest.approx(expected, abs=1e-5)
            checked += 1
    assert checked >= 2


def test_spins_are_the_qubos_that_they_say() -> None:
    rng = np.random.default_rng(2)
    sizes = np.array([4, 7, 9])
    drawn = draw_spins(["maxcut", "sk", "qubo"], sizes, 9, "exponential", rng)
    batch = TuningBatch(TuningConfig(sizes=(2, 9)), 3)
    batch.put_spins(np.arange(3), *drawn, np.full(3, 3))
    gammas, betas = batch.progress.angles()
    values = batch.simulator.values(gammas, betas)
    for row in range(3):
        qubo = qubo_of(drawn, row)
        spins = 2.0 * rng.integers(0, 2, (5, sizes[row])) - 1
        fields, couplings = drawn.fields[row, : sizes[row]], drawn.couplings[row, : sizes[row], : sizes[row]]
        expected = spins @ fields + np.einsum("ki,ij,kj->k", spins, couplings, spins) / 2
        assert qubo.energy((spins + 1) / 2) == pytest.approx(expected)
        assert np.stack(transferred(qubo, 3)) == pytest.approx(np.stack([gammas[row], betas[row]]))
        oracle = QaoaSimulator(qubo, precision="complex128")
        assert values[row] == pytest.approx(
            (oracle.value(gammas[row], betas[row])[0] - oracle.mean[0]) / oracle.std[0], abs=1e-5
        )
        ratio = (oracle.energies.max() - oracle.value(gammas[row], betas[row])[0]) / np.ptp(oracle.energies)
        batch.value[row] = values[row]
        assert batch.ratios()[row] == pytest.approx(ratio, abs=1e-5)


def test_rewards_add_up_to_the_improvement_over_the_transferred_angles() -> None:
    env = gym.make("CircuitTuning-v0", budget=7).unwrapped
    env.reset(seed=3)
    start = float(env.batch.value[0])  # type: ignore[attr-defined]
    rewards = [env.step(env.action_space.sample() * 0)[1]]
    assert rewards == pytest.approx([0.0], abs=1e-9)  # the first guess is the transferred one
    over = False
    while not over:
        _, reward, over, _, info = env.step(env.action_space.sample() * 0.2)
        rewards.append(reward)
    assert len(rewards) == 7
    assert sum(rewards) == pytest.approx(GAIN * (start - env.batch.value[0]))  # type: ignore[attr-defined]
    assert 0.5 < info["ratio"] <= 1


def test_the_batch_and_single_environments_play_the_same_episode() -> None:
    """One row, the same generator: the same observations, rewards and ends, over two episodes."""
    vector = gym.make_vec("CircuitTuning-v0", 1, vectorization_mode="vector_entry_point", **ALL)
    assert vector.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    single = gym.make("CircuitTuning-v0", **ALL).unwrapped
    vector.reset(seed=5)
    single.reset(seed=5)
    vector.unwrapped._np_random = np.random.default_rng(9)
    single.unwrapped._np_random = np.random.default_rng(9)
    assert np.array_equal(vector.reset()[0][0], single.reset()[0])
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = rng.uniform(-1, 1, 6).astype(np.float32)
        batch, one = vector.step(action[None]), single.step(action)
        assert (batch[1][0], batch[2][0]) == (one[1], one[2])
        last = batch[4]["final_obs"][0] if one[2] else batch[0][0]
        assert np.array_equal(last, one[0])
        if one[2]:
            assert np.array_equal(batch[0][0], single.reset()[0])


def test_shots_have_the_mean_and_the_error_that_they_say() -> None:
    """4,000 measurements of 100 shots: their mean within 4 standard errors, their spread within 10 % of the error."""
    batch = TuningBatch(TuningConfig(families=("sk",), sizes=(6, 6), shots=100, noise=0.1), 4000)
    drawn = draw_spins(["sk"], np.array([6]), 6, "unit", np.random.default_rng(0))
    rows = np.arange(4000)
    batch.put_spins(rows, *(np.repeat(part, 4000, 0) for part in drawn), 3)
    angles = batch.progress.angles()
    exact = batch.simulator.values(*angles)[0] * 0.9**3
    lost = np.full(4000, 1 - 0.9**3)
    means, errors = batch.simulator.sample(*angles, np.full(4000, 100), lost, np.random.default_rng(1))
    assert means.mean() == pytest.approx(exact, abs=4 * means.std() / 4000**0.5)
    assert means.std() == pytest.approx(errors.mean(), rel=0.1)


def test_stopping_ends_the_episode_and_costs_nothing() -> None:
    env = gym.make("CircuitTuning-v0", stop=True, shots=100, shot_price=1.0).unwrapped
    env.reset(seed=0)
    halt = np.zeros(7, np.float32)
    halt[-1] = 1
    over, info = env.step(halt)[2::2]
    assert not over and info["shots"] == 100  # nothing is known before the first evaluation
    _, reward, over, _, info = env.step(halt)
    assert over and reward == 0 and info["shots"] == 100


def test_shots_that_are_chosen_are_paid_for() -> None:
    env = gym.make("CircuitTuning-v0", choose_shots=True, shot_price=2.0).unwrapped
    env.reset(seed=0)
    few, many = np.zeros(7, np.float32), np.zeros(7, np.float32)
    few[-1], many[-1] = -1, 1
    env.step(few)
    assert env.step(many)[4]["shots"] == 2**5 + 2**13


def test_a_backend_measures_the_same_energy() -> None:
    options: dict[str, Any] = {"families": ("sk", "onehot"), "sizes": (4, 4), "layers": 2, "shots": 20000}
    batch = TuningBatch(TuningConfig(**options, backend="aer"), 3)
    batch.begin(np.arange(3), np.random.default_rng(0))
    exact = batch.simulator.values(*batch.progress.angles())
    batch.step(np.zeros((3, 6)), np.random.default_rng(1))
    assert np.all(np.abs(batch.value - exact) < 5 * batch.progress.error)
    batch.close()


def test_problems_of_a_file_come_back(tmp_path: Any) -> None:
    rng = np.random.default_rng(0)
    problems = [Qubo(rng.normal(size=(6, 6)), 2.0, one_hot=[(0, 2), (3, 1)]), Qubo(rng.normal(size=(12, 12)))]
    problems.append(Qubo(rng.normal(size=(5, 5)), cardinality=2))
    path = tmp_path / "problems.npz"
    save_problems(path, problems)
    for before, after in zip(problems, load_problems(path), strict=True):
        assert np.array_equal(before.matrix, after.matrix) and before.offset == after.offset
        assert before.cardinality == after.cardinality
        assert [tuple(sorted(block)) for block in before.one_hot] == list(after.one_hot)
    env = gym.make("CircuitTuning-v0", families=("file",), file=str(path)).unwrapped
    sizes = set()
    for seed in range(20):
        env.reset(seed=seed)
        sizes.add(env.batch.qubos[0].n)  # type: ignore[attr-defined]
        assert env.step(env.action_space.sample())[4]["ratio"] <= 1
    assert sizes == {5, 6, 12}
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ProblemError, match=r"file=.*problems.npz"):
        load_problems(path)
    with pytest.raises(ProblemError, match="there is no such file"):
        load_problems(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"families": ["tsp"]}, "families"),
        ({"layers": 9}, "layers"),
        ({"layers": (3, 2)}, r"layers=\(3, 2\)"),
        ({"sizes": (12, 8)}, "sizes"),
        ({"sizes": (2, 8), "families": ["onehot"]}, "at least 3"),
        ({"file": "x.npz"}, "families=.file."),
        ({"backend": "aer"}, "shots=null"),
        ({"colour": 1}, "colour"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(EnvironmentRefused, match=said) as refused:
        gym.make("CircuitTuning-v0", **options)
    assert "\n" not in str(refused.value) and str(refused.value).startswith("env.kwargs.")


def test_the_view_of_stable_baselines3_counts_episodes() -> None:
    view = TuningVecEnv(CircuitTuningVector(3, budget=4, stop=True))
    view.seed(0)
    view.reset()
    action = np.zeros((3, 7), np.float32)
    total = np.zeros(3)
    for step in range(4):
        action[1, -1] = step == 2  # this row stops early
        seen, rewards, dones, infos = view.step(action)
        total += rewards * ~np.isin(np.arange(3), 1)
        assert dones.tolist() == [step == 3, step == 2, step == 3]
    assert infos[0]["episode"] == {"r": pytest.approx(total[0], abs=1e-6), "l": 4, "t": 0.0}
    assert infos[0]["terminal_observation"].shape == seen[0].shape
    assert not np.array_equal(infos[0]["terminal_observation"], seen[0])
