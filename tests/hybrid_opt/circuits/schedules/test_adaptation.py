"""A policy that goes on learning: what it gains on problems not yet learned from, its cost, and that it resumes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worldmodel.envs.circuits.instances import draw_qubo, draw_spins, qubo_of

from hybrid_opt.circuits.schedules.adaptation import Adaptation, Paired
from hybrid_opt.circuits.schedules.features import Progress
from hybrid_opt.circuits.schedules.learned import TuningPolicy, kind_of, learned
from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simulator.qaoa import QaoaSimulator
from hybrid_opt.solvers import make_solver
from hybrid_opt.solvers.recording import Recording


def problems(count: int, seed: int = 0, size: int = 7) -> list[Qubo]:
    rng = np.random.default_rng(seed)
    drawn = draw_spins(["maxcut"] * count, np.full(count, size), size, "unit", rng)
    return [qubo_of(drawn, row) for row in range(count)]


def idle() -> TuningPolicy:
    """A policy whose first guess are the transferred angles."""
    return TuningPolicy(((np.zeros((Progress.size("fourier"), 6)), np.zeros(6)),))


@pytest.mark.parametrize("landscape", [True, False])
def test_new_problems_gain_from_those_before(landscape: bool) -> None:
    """On 20 problems after 30 lessons the first guess is better by 3 standard errors; so say the figures."""
    policy = learned().policy if landscape else idle()
    adaptation = Adaptation(policy, 3)
    adaptation.learn(problems(30))
    gains = []
    for qubo in problems(20, seed=1):
        simulator = QaoaSimulator(qubo, threads=1)
        before, after = (
            simulator.value(*schedule(qubo, 3))[0]
            for schedule in (Adaptation(policy, 3).schedule(), adaptation.schedule())
        )
        gains.append((before - after) / simulator.std[0])
    assert np.mean(gains) > 3 * np.std(gains) / 20**0.5
    figures = adaptation.figures
    assert figures.met == 30 and figures.accepted >= 1 and figures.gain > 0 and figures.after > figures.before


def test_the_figures_are_those_of_problems_before_they_are_learned_from() -> None:
    """Prequential: the gains are recomputed here with the schedules as they were; four circuits a problem at most."""
    policy, gains = idle(), []
    adaptation = Adaptation(policy, 2)
    for qubo in problems(20):
        simulator = QaoaSimulator(qubo, threads=1)
        ratios = [
            (simulator.energies.max() - simulator.value(*schedule(qubo, 2))[0]) / np.ptp(simulator.energies)
            for schedule in (Adaptation(policy, 2).schedule(), adaptation.schedule())
        ]
        gains.append(ratios[1] - ratios[0])
        adaptation.learn([qubo])
    assert adaptation.figures.gain == pytest.approx(np.mean(gains), abs=1e-6) and max(np.abs(gains)) > 0
    assert adaptation.figures.circuits <= 4 * 20


def test_a_shift_that_has_become_bad_is_dropped() -> None:
    """Where the problems change so that it harms, the policy's own first guess is used again."""
    adaptation = Adaptation(learned().policy, 3)
    adaptation.learn(problems(2))
    shift = adaptation._shifts["free"]
    shift.used, shift.trial, shift.lessons, shift.better = [0.4] * 6, [-0.5] * 6, 1000, Paired()
    adaptation.learn(problems(8, seed=2))
    assert adaptation.figures.dropped == 1 and adaptation.figures.accepted == 0 and shift.used == [0.0] * 6


def test_differences_are_sure_from_two_standard_errors_on() -> None:
    for values, said in (([1.0] * 5, 0), ([1.0, 1.1] * 4, 1), ([-1.0, -1.1] * 4, -1), ([1.0, -0.9] * 4, 0)):
        paired = Paired()
        for value in values:
            paired.add(value)
        assert paired.sure == said


def test_kinds_learn_apart_and_large_ones_are_left_out() -> None:
    rng = np.random.default_rng(0)
    qubos = [draw_qubo("onehot", 6, rng), draw_qubo("cardinality", 6, rng), problems(1)[0], Qubo(np.eye(15))]
    assert [kind_of(qubo) for qubo in qubos] == ["one_hot", "cardinality", "free", "free"]
    adaptation = Adaptation(idle(), 1)
    adaptation.learn(qubos)
    assert adaptation.figures.skipped == 1
    assert {kind: shift.lessons for kind, shift in adaptation._shifts.items()} == {
        "one_hot": 1, "cardinality": 1, "free": 1,
    }  # fmt: skip


def test_the_solver_learns_and_goes_on_from_its_state(tmp_path: Path) -> None:
    """Stopped after 8 of 16 problems and continued from the state, or not stopped: the same solutions to the bit."""
    options: dict[str, Any] = {"angles": "learned", "adapt": True, "layers": 2, "evaluations": 0, "shots": 32}
    qubos = problems(16)
    whole, first, second = (make_solver("qaoa", **options) for _ in range(3))
    expected = [whole.solve(qubo, seed) for seed, qubo in enumerate(qubos)]
    for seed, qubo in enumerate(qubos[:8]):
        first.solve(qubo, seed)
    recording = Recording(second, tmp_path / "problems.npz")
    recording.load_state_dict(first.state_dict())
    found = [recording.solve(qubo, seed) for seed, qubo in enumerate(qubos[8:], 8)]
    for one, other in zip(found, expected[8:], strict=True):
        assert one.angles is not None and other.angles is not None
        assert np.array_equal(one.angles, other.angles) and np.array_equal(one.samples, other.samples)
    assert recording.metrics() == whole.metrics() and whole.metrics()["adaptation_met"] == 16
    assert make_solver("qaoa").metrics() == {} and make_solver("exact").state_dict() == {}


def test_a_backend_is_asked_no_more_than_without() -> None:
    """Learning is in simulation: shots and circuits are the solver's own."""
    costs = []
    for adapt in (False, True):
        solver = make_solver(
            "qaoa", angles="learned", adapt=adapt, layers=1, evaluations=2, optimizer="cobyla", shots=16,
            training_shots=16, backend="aer",
        )  # fmt: skip
        cost = solver.solve(problems(1, size=4)[0]).cost
        costs.append((cost.shots, cost.circuits))
        assert solver.metrics().get("adaptation_met", 0) == adapt
        solver.close()
    assert costs[0] == costs[1]


def test_it_is_refused_without_a_policy() -> None:
    with pytest.raises(ProblemError, match=r"solver.adapt=True: .*angles=learned"):
        make_solver("qaoa", adapt=True)
    with pytest.raises(ProblemError, match="none.npz"):
        make_solver("qaoa", adapt=True, angles="learned", policy="none.npz")
