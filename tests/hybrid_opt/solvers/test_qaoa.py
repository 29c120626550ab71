"""The QAOA solver: its contract, its controls, its schedules, its costs."""

import numpy as np
import pytest

from hybrid_opt import ProblemError, Qubo, make_solver
from hybrid_opt.backends.backend import Capabilities, Limits, Result
from hybrid_opt.circuits.qaoa import qaoa_circuit
from hybrid_opt.circuits.schedules.optimised import optimised
from hybrid_opt.circuits.schedules.schedule import SCHEDULES
from hybrid_opt.cost import Cost
from hybrid_opt.job import FinishedJob
from hybrid_opt.simulator.mixers import standardisation
from hybrid_opt.simulator.qaoa import QaoaSimulator


def random_qubo(n: int, seed: int = 0, **constraints) -> Qubo:
    return Qubo(np.random.default_rng((seed, n)).normal(size=(n, n)), **constraints)


class Spy:
    """A backend of circuits: exact sampling by Qiskit. Remembers its programs."""

    name = "spy"
    capabilities = Capabilities(circuits=True, exact=True)
    limits = Limits()

    def __init__(self):
        self.programs, self.keys = [], []

    def submit(self, program, key, seed=0):
        from qiskit.quantum_info import Statevector

        self.programs.append(program)
        self.keys.append(key)
        rng, samples = np.random.default_rng(seed), []
        for values in program.parameters:
            law = Statevector(program.circuit.assign_parameters(values)).probabilities()
            states = rng.choice(len(law), program.shots, p=law / law.sum())
            samples.append(((states[:, None] >> np.arange(program.circuit.num_qubits)) & 1).astype(np.uint8))
        sets = len(program.parameters)
        return FinishedJob(key, Result(samples=tuple(samples), cost=Cost(shots=sets * program.shots, circuits=sets)))

    def estimate(self, program):
        return Cost()

    def find(self, key):
        return None

    def close(self):
        pass


@pytest.fixture
def spy(monkeypatch):
    backend = Spy()
    monkeypatch.setattr("hybrid_opt.backends.open_backend", lambda *args, **options: backend)
    return backend


@pytest.mark.parametrize(
    "constraints",
    [{}, {"one_hot": [(0, 1, 2), (5, 3, 4)]}, {"cardinality": 4}, {"one_hot": [(0, 1, 2)], "cardinality": 4}],
)
def test_finds_the_optimum_of_small_problems(constraints):
    qubo = random_qubo(9, **constraints)
    states = (np.arange(512)[:, None] >> np.arange(9)) & 1
    best = min(x @ qubo.matrix @ x for x in states if qubo.feasible(x))
    solution = make_solver("qaoa", shots=512).solve(qubo)
    assert solution.energy == pytest.approx(best)
    assert solution.feasible.all()
    assert solution.samples.shape == (512, 9)
    assert solution.angles.shape == (2, 4)
    np.testing.assert_allclose(solution.energies, qubo.energy(solution.samples))


def test_a_batch_is_the_same_as_one_by_one_and_a_seed_fixes_all():
    qubos = [random_qubo(8, seed) for seed in range(3)]
    solver = make_solver("qaoa", shots=64)
    first, again = (solver.submit(qubos, seed=5).result() for _ in range(2))
    one = solver.solve(qubos[0], seed=5)
    np.testing.assert_array_equal(one.samples, first[0].samples)
    for left, right in zip(first, again, strict=True):
        np.testing.assert_array_equal(left.samples, right.samples)
        np.testing.assert_array_equal(left.angles, right.angles)
    assert (first[0].samples != solver.solve(qubos[0], seed=6).samples).any()


def test_samples_follow_the_circuit():
    qubo = random_qubo(8)
    solution = make_solver("qaoa", layers=2, shots=20_000, angles="ramp").solve(qubo)
    law = QaoaSimulator(qubo, precision="complex128").probabilities(*solution.angles)[0]
    seen = np.bincount(solution.samples @ (1 << np.arange(8)), minlength=256) / 20_000
    expected = np.sqrt(2 / np.pi * law * (1 - law) / 20_000).sum() / 2  # mean of the total variation of sampling
    assert abs(seen - law).sum() / 2 < 1.5 * expected


def test_costs_are_counted_apart():
    qubo = random_qubo(9)
    ramp = make_solver("qaoa", angles="ramp", shots=100).solve(qubo).cost
    assert (ramp.training.circuits, ramp.training.evaluations, ramp.training.shots) == (0, 0, 0)
    assert (ramp.sampling.circuits, ramp.sampling.evaluations, ramp.sampling.shots) == (1, 100, 100)
    exact = make_solver("qaoa", evaluations=7, shots=100).solve(qubo).cost
    assert 1 <= exact.training.circuits <= 7
    assert exact.training.evaluations == 512
    shots = make_solver("qaoa", optimizer="cobyla", evaluations=6, training_shots=50, shots=100).solve(qubo)
    assert (shots.cost.training.circuits, shots.cost.training.shots, shots.cost.training.evaluations) == (6, 300, 300)
    assert shots.trace[-1, 0] <= 400
    assert (np.diff(shots.trace, axis=0) * [1, -1] >= 0).all()
    assert shots.trace[-1, 1] == shots.energy


@pytest.mark.parametrize("optimizer", ["adjoint", "cobyla", "spsa"])
def test_training_lowers_the_energy(optimizer):
    qubo = random_qubo(9, 3, one_hot=[(0, 1, 2), (3, 4, 5, 6, 7)])  # not what the transferred angles are from
    options = {"layers": 2, "alpha": 1.0, "evaluations": 60}
    options |= {} if optimizer == "adjoint" else {"training_shots": 1000}
    trained = make_solver("qaoa", optimizer=optimizer, **options).solve(qubo).angles
    simulator = QaoaSimulator(qubo)
    start = simulator.value(*SCHEDULES["transferred"](qubo, 2))[0]
    assert simulator.value(*trained)[0] < start - 0.1 * simulator.std[0]


def test_schedules_keep_their_contract():
    qubo = random_qubo(10)
    simulator = QaoaSimulator(qubo)
    calls = []

    def evaluate(gammas, betas):
        calls.append((gammas, betas))
        return float(simulator.value(gammas, betas)[0])

    values = {}
    for name, schedule in SCHEDULES.items():
        for layers in (1, 3, 12):
            gammas, betas = schedule(qubo, layers)
            assert gammas.shape == betas.shape == (layers,)
            values[name, layers] = evaluate(gammas, betas)
            assert values[name, layers] < simulator.mean[0] - 0.3 * simulator.std[0]
    calls.clear()
    gammas, betas = optimised(qubo, 3, evaluate, 25)
    assert len(calls) <= 25
    assert evaluate(gammas, betas) <= min(evaluate(*call) for call in list(calls)) < values["transferred", 3]
    scaled = Qubo(7 * qubo.matrix, offset=3.0)
    np.testing.assert_allclose(SCHEDULES["transferred"](scaled, 3), SCHEDULES["transferred"](qubo, 3))


def test_a_learned_schedule_is_a_callable():
    asked = []

    def learned(qubo, layers, evaluate=None, budget=0):
        asked.append(budget)
        return min([(np.full(layers, g), np.full(layers, 0.3)) for g in (0.5, 1.0)], key=lambda pair: evaluate(*pair))

    qubo = random_qubo(8)
    solution = make_solver("qaoa", layers=2, angles=learned, evaluations=9).solve(qubo)
    assert asked == [9]
    assert solution.cost.training.circuits == 2
    assert solution.angles[1].tolist() == [0.3, 0.3]
    with pytest.raises(ProblemError, match="angles"):
        make_solver("qaoa", angles=lambda qubo, layers, *rest: (np.zeros(1), np.zeros(1))).solve(qubo)


def test_the_mixer_keeps_its_sign():
    """With the sign reversed, the same angles avoid the optimum."""
    qubo = random_qubo(12)
    simulator = QaoaSimulator(qubo)
    gammas, betas = SCHEDULES["transferred"](qubo, 4)
    best = qubo.diagonal().argmin()
    assert simulator.probabilities(gammas, betas)[0, best] > 0.03
    assert simulator.probabilities(gammas, -betas)[0, best] < 1e-3


def test_controls():
    qubo = random_qubo(10)
    trained = make_solver("qaoa", shots=256)
    hits = (trained.solve(qubo).energies < qubo.diagonal().min() + 1e-9).mean()
    for control in ({"entangle": False}, {"parameters": "random"}, {"shuffle": True}):
        solution = make_solver("qaoa", shots=256, **control).solve(qubo)
        assert (solution.energies < qubo.diagonal().min() + 1e-9).mean() < hits / 2, control
        np.testing.assert_allclose(solution.energies, qubo.energy(solution.samples))


def test_product_states_solve_what_has_no_couplings():
    """Without couplings, entangle=false is the same circuit."""
    qubo = Qubo(np.diag(np.random.default_rng(0).normal(size=8)))
    one, two = (make_solver("qaoa", entangle=entangle, shots=50).solve(qubo) for entangle in (True, False))
    np.testing.assert_array_equal(one.samples, two.samples)


def test_warm_start_raises_the_chance_of_what_it_starts_from():
    qubo = random_qubo(9)
    target = qubo.minimum()[0]
    chances = {}
    for name, warm in (("none", "none"), ("bits", tuple(target.tolist()))):
        solver = make_solver("qaoa", layers=1, angles="transferred", warm_start=warm, shots=2000)
        chances[name] = (solver.solve(qubo).samples == target).all(1).mean()
    assert chances["bits"] > 2 * chances["none"]
    greedy = make_solver("qaoa", warm_start="greedy", angles="ramp").solve(qubo)
    assert greedy.cost.training.evaluations > 0


def test_penalties_take_the_place_of_constraints_under_the_x_mixer():
    qubo = random_qubo(8, one_hot=[(0, 1, 2)], cardinality=3)
    solution = make_solver("qaoa", mixer="x", layers=6).solve(qubo)
    assert 0 < solution.feasible.sum() < len(solution.feasible)
    assert qubo.feasible(solution.bits)
    repaired = make_solver("qaoa", mixer="x", layers=6, descent=True).solve(qubo)
    assert repaired.feasible.all()
    assert repaired.about["repaired"] > 0
    assert repaired.cost.sampling.evaluations > solution.cost.sampling.evaluations


def test_a_call_is_one_program_for_each_structure(spy):
    qubos = [random_qubo(5, 0), random_qubo(6, 1, one_hot=[(0, 2, 4)]), random_qubo(5, 2), random_qubo(5, 3)]
    solver = make_solver("qaoa", layers=2, shots=200, backend="spy")
    solutions = solver.submit(qubos, seed=1).result()
    assert [len(program.parameters) for program in spy.programs] == [3, 1]
    assert len(set(spy.keys)) == 2
    for qubo, solution in zip(qubos, solutions, strict=True):
        assert solution.samples.shape == (200, qubo.n)
        assert solution.feasible.all()
        assert solution.cost.sampling.shots == 200
        law = QaoaSimulator(qubo).probabilities(*solution.angles)[0]
        assert solution.energies.mean() == pytest.approx(
            QaoaSimulator(qubo).value(*solution.angles)[0], abs=5 * standardisation(qubo)[1] / np.sqrt(200)
        )
        assert law.sum() == pytest.approx(1)


def test_training_under_shots_runs_on_the_backend(spy):
    qubo = random_qubo(4)
    solver = make_solver("qaoa", layers=1, optimizer="spsa", evaluations=4, training_shots=32, shots=64, backend="spy")
    solution = solver.solve(qubo)
    assert [program.shots for program in spy.programs] == [32] * 4 + [64]
    assert len(set(spy.keys)) == 5
    assert (solution.cost.training.shots, solution.cost.sampling.shots) == (128, 64)
    energies = [qubo.energy(x) for x in solution.samples]
    assert solution.energy <= min(energies)


def test_what_is_refused():
    with pytest.raises(ProblemError, match=r"solver\.layers=0"):
        make_solver("qaoa", layers=0)
    with pytest.raises(ProblemError, match=r"solver\.alpha"):
        make_solver("qaoa", alpha=1.5)
    with pytest.raises(ProblemError, match="mixer=xy"):
        make_solver("qaoa", mixer="xy").solve(random_qubo(4))
    with pytest.raises(ProblemError, match="warm_start"):
        make_solver("qaoa", warm_start=(0.0, 1.0)).solve(random_qubo(4))
    with pytest.raises(ProblemError, match="warm_start"):
        make_solver("qaoa", warm_start="greedy").solve(random_qubo(4, cardinality=2))
    with pytest.raises(ProblemError, match="entangle"):
        make_solver("qaoa", entangle=False).solve(random_qubo(4, cardinality=2))
    with pytest.raises(ProblemError, match="are simulated"):
        make_solver("qaoa").submit(random_qubo(30))
    with pytest.raises(ProblemError, match="layers=0"):
        qaoa_circuit(random_qubo(3), 0)


@pytest.mark.slow
def test_quality_on_random_dense_problems():
    """The optimum is among 1024 samples in at least 19 of 20 at n = 16."""
    rng, solver = np.random.default_rng(11), make_solver("qaoa")
    qubos = [Qubo(rng.normal(size=(16, 16))) for _ in range(20)]
    solutions = solver.submit(qubos).result()
    hits = sum(s.energy <= q.minimum()[1] + 1e-9 for q, s in zip(qubos, solutions, strict=True))
    assert hits >= 19
