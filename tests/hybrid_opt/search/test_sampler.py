"""QuboSampler: Optuna's conventions, the space as levels, proposals by every solver, what is never proposed twice."""

import math
import pickle
import subprocess
import sys
import warnings

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from hybrid_opt import ProblemError, Qubo, QuboSampler, make_solver
from hybrid_opt.search.axis import Axis
from hybrid_opt.search.history import History, losses_of
from hybrid_opt.search.sampler import choose
from hybrid_opt.solvers import Solution

optuna.logging.set_verbosity(optuna.logging.ERROR)


def mixed(trial):
    """Categorical, int, float, log and step; the minimum 0 at b, 6, 1.0, 1e-3, 0.75."""
    kind = trial.suggest_categorical("kind", ["a", "b", "c"])
    layers = trial.suggest_int("layers", 1, 8)
    x = trial.suggest_float("x", -3.0, 3.0)
    rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
    drop = trial.suggest_float("drop", 0.0, 1.0, step=0.25)
    return (kind != "b") + abs(layers - 6) / 4 + abs(x - 1) + abs(math.log10(rate) + 3) / 2 + abs(drop - 0.75)


def small(trial):
    return float((trial.suggest_int("a", 0, 3) - 2) ** 2 + (trial.suggest_categorical("b", ["u", "v", "w"]) != "v"))


def study_of(sampler, direction="minimize", **rest):
    return optuna.create_study(sampler=sampler, direction=direction, **rest)


def about(study):
    return [trial.user_attrs["qubo"] for trial in study.trials if "qubo" in trial.user_attrs]


def test_importing_the_package_does_not_import_optuna():
    code = "import sys, hybrid_opt; assert 'optuna' not in sys.modules; assert hybrid_opt.QuboSampler.__name__"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_defaults_find_the_minimum_of_a_mixed_space_better_than_chance():
    best = {}
    for name, sampler in (("qubo", QuboSampler(seed=1)), ("random", optuna.samplers.RandomSampler(seed=1))):
        study = study_of(sampler)
        study.optimize(mixed, n_trials=60)
        best[name] = study.best_value
    assert best["qubo"] < 0.35 < best["random"]


@pytest.mark.parametrize("surrogate", ["smooth", "factorization", "sparse"])
def test_maximising_is_minimising_the_negative(surrogate):
    points = []
    for sign, direction in ((1, "minimize"), (-1, "maximize")):
        study = study_of(QuboSampler(surrogate, seed=2, n_startup_trials=6), direction)
        study.optimize(lambda trial, sign=sign: sign * small(trial), n_trials=10)
        points.append([trial.params for trial in study.trials])
    assert points[0] == points[1]


def test_the_seed_fixes_the_proposals_and_reseeding_frees_them():
    def proposals(*, reseed=False):
        sampler = QuboSampler(seed=5, n_startup_trials=5)
        study = study_of(sampler)
        study.optimize(mixed, n_trials=5)
        if reseed:
            sampler.reseed_rng()
        study.optimize(mixed, n_trials=3)
        return [trial.params for trial in study.trials]

    first, second, third = proposals(), proposals(), proposals(reseed=True)
    assert first == second
    assert first[:5] == third[:5]
    assert first[5:] != third[5:]


def test_start_points_switch_every_bit_on():
    study = study_of(QuboSampler(seed=0))

    def objective(trial):
        trial.suggest_categorical("kind", list("abcdefg"))
        trial.suggest_int("n", 0, 9)
        trial.suggest_int("wide", 1, 1000)
        trial.suggest_float("x", 0, 1)
        return trial.suggest_int("odd", 1, 39, step=2)

    study.optimize(objective, n_trials=20)
    assert not about(study)
    for name, count in {"kind": 7, "n": 10, "odd": 20}.items():
        assert len({trial.params[name] for trial in study.trials}) == count
    for values in ([t.params["x"] for t in study.trials], [(t.params["wide"] - 1) / 999 for t in study.trials]):
        assert len({min(int(20 * value), 19) for value in values}) >= 19  # one a stratum, up to rounding
        nearest = {round(9 * value) for value in values}
        assert nearest == set(range(10))  # every level of the first, coarse grid


def test_more_start_points_where_a_parameter_has_more_options():
    study = study_of(QuboSampler(seed=0))
    study.optimize(lambda trial: float(trial.suggest_categorical("kind", [f"o{i}" for i in range(25)]) == "o3"), 25)
    assert not about(study)
    assert len({trial.params["kind"] for trial in study.trials}) == 25


def test_no_more_than_fifty_start_points():
    """A parameter of 200 options had 200 of them; its first fifty are different ones."""
    study = study_of(QuboSampler(seed=0))
    options = [f"o{i}" for i in range(200)]
    study.optimize(lambda trial: float(trial.suggest_categorical("kind", options)[1:]), 52)
    assert [trial.number for trial in study.trials if "qubo" in trial.user_attrs] == [50, 51]
    assert len({trial.params["kind"] for trial in study.trials}) == 52


@pytest.mark.parametrize("solver", ["auto", "exact", "annealing", "qaoa", "random"])
def test_nothing_is_proposed_twice_until_the_space_is_exhausted(solver):
    options = {"qaoa": {"layers": 1, "shots": 64}, "annealing": {"reads": 4, "sweeps": 10}}.get(solver)
    study = study_of(QuboSampler(seed=0, n_startup_trials=4, solver=solver, solver_options=options))
    study.optimize(small, n_trials=14)
    points = [tuple(trial.params.values()) for trial in study.trials]
    proposed = points[4:]
    assert len(set(points)) == 12  # all of them
    before = len(set(points[:4]))
    assert len(set(proposed) - set(points[:4])) == 12 - before
    assert [each["chosen"] for each in about(study)][12 - before :] == ["repeat"] * (len(proposed) - 12 + before)


def test_a_solver_made_elsewhere_and_its_single_sample():
    study = study_of(QuboSampler(seed=0, n_startup_trials=4, solver=make_solver("exact")))
    study.optimize(small, n_trials=12)
    assert len({tuple(trial.params.values()) for trial in study.trials}) >= 11
    assert {"neighbour", "sample"} & {each["chosen"] for each in about(study)}


def test_grover_counts_queries_beside_the_scan():
    sampler = QuboSampler(seed=0, n_startup_trials=10, solver="grover")
    study = study_of(sampler)
    study.optimize(mixed, n_trials=13)
    for each in about(study):
        assert each["scan"] == each["states"] / 2
        assert each["queries"] <= math.isqrt(81 * each["states"]) + 1
        assert each["first_hit"] is None or each["first_hit"] <= each["queries"]
    assert len(about(study)) == 3


def test_spaces_beyond_what_is_enumerated():
    def objective(trial):
        return float(sum(abs(trial.suggest_int(f"x{i}", 0, 9) - 4) for i in range(8)))

    refused = {name: study_of(QuboSampler(seed=0, n_startup_trials=10, solver=name)) for name in ("exact", "grover")}
    for name, study in refused.items():
        study.optimize(objective, n_trials=10)
        with pytest.raises(
            ProblemError, match=rf"solver={name}: 100000000 feasible states; up to 16777216 are accepted"
        ):
            study.optimize(objective, n_trials=1)
    study = study_of(QuboSampler(seed=0, n_startup_trials=10))
    study.optimize(objective, n_trials=22)
    values = [trial.value for trial in study.trials]
    assert np.mean(values[12:]) < np.mean(values[:10]) - np.std(values[:10])
    assert all(each["states"] == 10**8 and each["shots"] for each in about(study))


def test_enqueued_trials_are_run_and_the_rest_is_proposed_around_them():
    study = study_of(QuboSampler(seed=0, n_startup_trials=6))
    study.enqueue_trial({"kind": "b", "layers": 6, "x": 1.0, "rate": 1e-3, "drop": 0.75})
    study.optimize(mixed, n_trials=6)
    assert study.best_trial.number == 0
    assert study.best_value == pytest.approx(0, abs=1e-9)
    study.enqueue_trial({"kind": "c", "x": -2.0})
    study.optimize(mixed, n_trials=1)
    assert study.trials[-1].params["kind"] == "c"
    assert study.trials[-1].params["x"] == -2.0
    assert about(study)[-1]["states"] <= 8 * 10 * 5


def test_conditional_parameters_share_the_model():
    def objective(trial):
        if trial.suggest_categorical("kind", ["adam", "sgd"]) == "adam":
            return 1.0 + abs(trial.suggest_int("beta", 0, 9) - 3) / 9
        return abs(trial.suggest_int("momentum", 0, 9) - 7) / 9

    study = study_of(QuboSampler(seed=0, n_startup_trials=8))
    study.optimize(objective, n_trials=24)
    assert study.best_params == {"kind": "sgd", "momentum": 7}
    points = [tuple(trial.params.items()) for trial in study.trials]
    assert len(set(points)) == 20  # all of them, since beta does not tell two trials with sgd apart
    new = [point for number, point in enumerate(points) if number >= 8 and point not in points[:8]]
    assert new[: len(set(new))] == list(dict.fromkeys(new))  # no repeat before


def test_dynamic_ranges_and_parameters_that_are_seen_late():
    def objective(trial):
        n = trial.suggest_int("n", 2, 6)
        total = trial.suggest_int("below", 0, n)  # its range depends on n
        if trial.number > 9:
            total += trial.suggest_float("late", 0.0, 1.0)
        return float(total)

    study = study_of(QuboSampler(seed=0, n_startup_trials=6))
    study.optimize(objective, n_trials=16)
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)
    assert all("late" in trial.params for trial in study.trials[10:])


def test_failed_trials_are_passed_over():
    def objective(trial):
        value = small(trial)
        if trial.params["a"] == 2:
            raise RuntimeError("diverged")
        return value

    study = study_of(QuboSampler(seed=0, n_startup_trials=5))
    study.optimize(objective, n_trials=14, catch=(RuntimeError,))
    failed = [tuple(trial.params.values()) for trial in study.trials[5:] if trial.state == TrialState.FAIL]
    assert len(set(failed)) == len(failed)
    assert study.best_params["a"] in (1, 3)
    none = study_of(QuboSampler(seed=0, n_startup_trials=2))
    none.optimize(lambda trial: math.nan if trial.suggest_int("a", 0, 9) >= 0 else 0.0, n_trials=5)
    assert {trial.state for trial in none.trials} == {TrialState.FAIL}


@pytest.mark.parametrize("pruner", [optuna.pruners.MedianPruner(3), optuna.pruners.HyperbandPruner(1, 9, 3)])
def test_pruners_work(pruner):
    def objective(trial):
        value = small(trial)
        for step in range(1, 10):
            trial.report(value + 1 / step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    study = study_of(QuboSampler(seed=0, n_startup_trials=6), pruner=pruner)
    study.optimize(objective, n_trials=12)
    states = [trial.state for trial in study.trials]
    assert TrialState.PRUNED in states
    assert TrialState.COMPLETE in states
    assert len(about(study)) == 6  # the start points of all brackets count


def finished(value, state=TrialState.COMPLETE, reports=None, constraints=()):
    attrs = {f"constraints:{i}": c for i, c in enumerate(constraints)}
    return create_trial(state=state, value=value, intermediate_values=reports or {}, system_attrs=attrs)


def test_losses_of_pruned_and_infeasible_trials():
    minimise, maximise = optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE
    pruned = finished(None, TrialState.PRUNED, {1: 2.5})
    complete = [finished(v, reports={1: 10 * v}) for v in (0.1, 0.2, 0.3, 0.4)]
    losses = losses_of([*complete, pruned], minimise)
    np.testing.assert_allclose(losses, [0.1, 0.2, 0.3, 0.4, 0.3])  # half of the others were better at step 1
    np.testing.assert_allclose(losses_of(complete, maximise), [-0.1, -0.2, -0.3, -0.4])
    mute = finished(None, TrialState.PRUNED)
    assert losses_of([*complete, mute], minimise)[-1] == 0.4
    broken = [
        finished(0.0, constraints=[1.0, -3.0]),
        finished(0.0, constraints=[0.5, 0.25]),
        finished(9.0, constraints=[0]),
    ]
    order = losses_of([*broken, *complete], minimise).argsort().tolist()
    assert order == [3, 4, 5, 6, 2, 1, 0]
    never = finished(0.0, constraints=[np.inf])  # is the worst, and leaves the others' order
    assert losses_of([never, *broken, *complete], minimise).argsort().tolist() == [4, 5, 6, 7, 3, 2, 1, 0]
    large = [finished(1e18), finished(0.0, constraints=[0.5]), finished(0.0, constraints=[1.0])]
    assert losses_of(large, minimise).argsort().tolist() == [0, 1, 2]
    assert np.diff(losses_of(large, minimise)).min() > 0  # differences are not rounded away
    early, late = finished(None, TrialState.PRUNED, {1: 0.0}), finished(None, TrialState.PRUNED, {5: 9.0})
    assert losses_of([early, late], minimise)[0] > losses_of([early, late], minimise)[1]


def test_constraints_keep_proposals_feasible():
    def objective(trial):
        a, b = trial.suggest_int("a", 0, 9), trial.suggest_int("b", 0, 9)
        trial.set_user_attr("over", float(a + b - 9))
        return float(-a - 2 * b)

    sampler = QuboSampler(seed=0, n_startup_trials=12, constraints_func=lambda trial: [trial.user_attrs["over"]])
    study = study_of(sampler)
    study.optimize(objective, n_trials=40)
    assert all(trial.constraints for trial in study.trials)
    feasible = [trial for trial in study.trials if trial.user_attrs["over"] <= 0]
    assert min(trial.value for trial in feasible) <= -17
    assert sum(trial.user_attrs["over"] <= 0 for trial in study.trials[12:]) > 10


def test_several_objectives_are_refused_in_one_line():
    study = optuna.create_study(sampler=QuboSampler(seed=0), directions=["minimize", "maximize"])
    with pytest.raises(ProblemError, match="study: 2 objectives; QuboSampler takes studies of one"):
        study.optimize(lambda trial: (0.0, 1.0), n_trials=1)


def test_running_trials_are_not_proposed_again():
    study = study_of(QuboSampler(seed=0, n_startup_trials=4))
    study.optimize(small, n_trials=4)
    waiting = [study.ask() for _ in range(5)]
    for trial in waiting:
        small(trial)
    assert len({tuple(trial.params.values()) for trial in waiting}) == 5


def test_proposals_are_known_to_other_workers_before_they_are_asked_for():
    study = study_of(QuboSampler(seed=0, n_startup_trials=4))
    study.optimize(small, n_trials=4)
    first = study.ask()
    first.suggest_int("a", 0, 3)  # b is not asked for yet
    axes = [Axis("a", IntDistribution(0, 3)), Axis("b", CategoricalDistribution(("u", "v", "w")))]
    assert History.of(study, axes).running.shape == (1, 2)
    assert np.isfinite(History.of(study, axes).running).all()


def test_two_threads_share_a_sampler():
    study = study_of(QuboSampler(seed=0, n_startup_trials=6))
    study.optimize(mixed, n_trials=20, n_jobs=2)
    points = [tuple(trial.params.values()) for trial in study.trials]
    assert len(study.trials) == 20
    assert len(set(points)) == 20
    assert len(about(study)) >= 12


def test_a_stored_study_is_resumed_by_a_pickled_sampler(tmp_path):
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    whole = study_of(QuboSampler(seed=3, n_startup_trials=5, surrogate_options={"steps": 0}))
    whole.optimize(mixed, n_trials=9)
    part = study_of(
        QuboSampler(seed=3, n_startup_trials=5, surrogate_options={"steps": 0}), storage=storage, study_name="s"
    )
    part.optimize(mixed, n_trials=7)
    copy = pickle.loads(pickle.dumps(part.sampler))
    again = optuna.load_study(study_name="s", storage=storage, sampler=copy)
    again.optimize(mixed, n_trials=2)
    for one, other in zip(whole.trials, again.trials, strict=True):
        assert one.params == other.params
    fresh = optuna.load_study(study_name="s", storage=storage, sampler=QuboSampler(seed=3, n_startup_trials=5))
    fresh.optimize(mixed, n_trials=1)
    assert "qubo" in fresh.trials[-1].user_attrs


def test_floats_are_refined_around_the_best():
    study = study_of(QuboSampler(seed=0))
    study.optimize(lambda trial: abs(trial.suggest_float("x", 0, 1) - 0.6180339), n_trials=60)
    assert study.best_value < 2e-3  # a grid of ten levels has 0.05 at best in the mean


def test_cost_and_quality_are_in_the_attributes():
    study = study_of(
        QuboSampler(seed=0, n_startup_trials=8, solver="annealing", solver_options={"reads": 7, "sweeps": 10})
    )
    study.optimize(mixed, n_trials=16)
    said = about(study)
    assert all(each["shots"] == 7 and each["evaluations"] > 0 and each["origin"] == "run" for each in said)
    assert said[0]["quality"] is None
    assert -1 <= said[-1]["quality"] <= 1
    assert optuna.importance.get_param_importances(study)


def test_choosing_goes_from_samples_to_neighbours_to_a_scan():
    levels = [np.arange(3.0), np.arange(3.0)]
    qubo = Qubo(np.diag([0, 1, 2, 0, 10, 20.0]), one_hot=[(0, 1, 2), (3, 4, 5)])
    solution = make_solver("exact").solve(qubo)
    rng = np.random.default_rng(0)

    def chosen(taken, solution=solution):
        nothing = np.zeros((0, 2))
        history = History(nothing, np.zeros(0), nothing, np.array(taken, np.float64).reshape(-1, 2), [])
        point, how = choose(qubo, solution, levels, history, rng)
        return point.tolist(), how

    assert chosen([]) == ([0, 0], "sample")
    assert chosen([[0, 0]]) == ([1, 0], "neighbour")
    cross = [[0, 0], [1, 0], [2, 0], [0, 1], [0, 2]]
    assert chosen(cross) == ([1, 1], "scan")
    assert chosen([[a, b] for a in range(3) for b in range(3)]) == ([0, 0], "repeat")
    assert chosen([[0, np.nan]]) == ([1, 0], "neighbour")  # what a trial did not have does not count
    broken = np.array([[1, 1, 0, 0, 0, 1]], np.uint8)
    spoilt = Solution.of(qubo, broken, solution.cost)
    assert chosen([], spoilt)[1] == "neighbour"


def test_options_that_are_not_accepted():
    for options, line in (
        ({"surrogate": "smoth"}, "did you mean smooth"),
        ({"solver": "qoaa"}, "did you mean qaoa"),
        ({"solver": "qaoa", "solver_options": {"layer": 2}}, "did you mean layers"),
        ({"backend": "aer"}, "solver=auto: takes no backend"),
        ({"solver": make_solver("exact"), "solver_options": {"samples": 2}}, "solver=exact: takes no backend"),
        ({"n_startup_trials": 0}, "n_startup_trials=0: a positive integer"),
        ({"levels": 2}, "levels=2: an integer from 4"),
        ({"transform": "square"}, "transform=square"),
        ({"levels": float("nan")}, "levels=nan: an integer from 4"),
        ({"levels": "many"}, "levels=many: an integer from 4"),
        ({"n_startup_trials": math.inf}, "n_startup_trials=inf: a positive integer"),
        ({"solver": None}, "solver=None: a name"),
        ({"solver_options": 5}, "solver_options=5: a mapping"),
        ({"surrogate_options": 5}, "surrogate_options=5: a mapping"),
        ({"constraints_func": 3}, "constraints_func=3: a function"),
    ):
        with pytest.raises(ProblemError, match=line):
            QuboSampler(**options)


def test_no_warnings_of_deprecated_conventions():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = study_of(QuboSampler(seed=0, n_startup_trials=4))
        study.optimize(small, n_trials=6)
    assert len(about(study)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("storage", [None, "sqlite"])
def test_a_bad_enqueued_value_fails_its_own_trial_alone(tmp_path, storage):
    """Whether it waits, runs or was left by a dead worker: `ask()` without `tell()`."""
    sampler = QuboSampler(seed=0, n_startup_trials=2)
    study = study_of(sampler, storage=storage and f"sqlite:///{tmp_path / 'study.db'}")

    def objective(trial):
        return trial.suggest_float("x", 0.0, 1.0) + (trial.suggest_categorical("opt", ["a", "bb"]) == "a")

    study.optimize(objective, n_trials=8)
    study.enqueue_trial({"x": 3.0})
    study.enqueue_trial({"opt": "sgd"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's own, of 3.0
        study.optimize(objective, n_trials=4, catch=(ValueError,))
        assert [trial.state.name for trial in study.trials[8:]] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
        study.enqueue_trial({"opt": "sgd"})
        study.ask()
        study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials[12:]] == ["RUNNING", "COMPLETE", "COMPLETE"]


def test_trials_within_a_range_that_was_narrowed_are_used():
    def objective(low, high):
        return lambda trial: sum((trial.suggest_float(name, low, high) - 3.3) ** 2 for name in "xy")

    study = study_of(QuboSampler(seed=3))
    study.optimize(objective(0, 10), n_trials=40)
    within = sum(all(2 <= value <= 4 for value in trial.params.values()) for trial in study.trials)
    assert 0 < within < 40
    with pytest.warns(RuntimeWarning, match=rf"range of x, y changed: {40 - within} of 41 earlier trials"):
        study.optimize(objective(2, 4), n_trials=60)
    assert np.mean([trial.value for trial in study.trials[-30:]]) < 0.1


def test_numbers_of_numpy_as_seeds(tmp_path):
    study = study_of(QuboSampler(seed=np.int64(3)), storage=f"sqlite:///{tmp_path / 'study.db'}")
    study.optimize(small, n_trials=2)
    twin = study_of(QuboSampler(seed=3))
    twin.optimize(small, n_trials=2)
    assert [trial.params for trial in study.trials] == [trial.params for trial in twin.trials]
    for seed in (-1, 1.5, "3", True):
        with pytest.raises(ProblemError, match=r"^seed=.*: None or an integer >= 0 is accepted$"):
            QuboSampler(seed=seed)
