"""Exact, random, greedy, annealing and path_integral: optima, exact laws, counts, controls and backends."""

import threading
import time

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats

from hybrid_opt import Cost, ProblemError, Qubo, make_solver
from hybrid_opt.backends.backend import Capabilities, Limits, Result
from hybrid_opt.errors import Cancelled
from hybrid_opt.job import FinishedJob, ThreadJob
from hybrid_opt.solvers.local_search import descend

NAMES = ["exact", "random", "greedy", "annealing", "path_integral"]
FORMS = {
    "free": (10, (), None),
    "one_hot": (10, ((0, 1, 2, 3), (5, 9, 7)), None),
    "cardinality": (10, (), 4),
    "both": (10, ((0, 1, 2), (5, 9)), 5),
}


def problem(form="free", seed=0):
    n, one_hot, cardinality = FORMS[form]
    matrix = np.random.default_rng(seed).normal(size=(n, n))
    return Qubo(matrix, 0.5, one_hot=one_hot, cardinality=cardinality)


def shares(qubo, samples):
    """How often every basis state was drawn, [2^n]."""
    return np.bincount(samples.astype(np.int64) @ (1 << np.arange(qubo.n)), minlength=1 << qubo.n) / len(samples)


def distance(law, samples, qubo):
    """Total variation between the samples and their law, over its expectation for independent samples."""
    noise = 0.5 * np.sqrt(2 * law * (1 - law) / (np.pi * len(samples))).sum()
    return 0.5 * np.abs(shares(qubo, samples) - law).sum() / noise


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", FORMS)
def test_solutions_are_consistent_and_the_seed_fixes_them(name, form):
    qubo, solver = problem(form), make_solver(name)
    solution = solver.solve(qubo, seed=5)
    np.testing.assert_allclose(solution.energies, qubo.energy(solution.samples))
    np.testing.assert_array_equal(solution.feasible, qubo.feasible(solution.samples))
    assert solution.samples.dtype == np.int8
    assert solution.feasible.any()
    assert solution.energy == solution.energies[solution.feasible].min() == qubo.energy(solution.bits)
    assert solution.origin == "run"
    assert solution.cost.evaluations > 0
    assert solution.cost.wall_seconds > 0
    trace = solution.trace
    assert (np.diff(trace[:, 0]) > 0).all()
    assert (np.diff(trace[:, 1]) <= 0).all()
    assert tuple(trace[-1]) == (solution.cost.evaluations, solution.energy)
    again = solver.solve(qubo, seed=5)
    np.testing.assert_array_equal(again.samples, solution.samples)
    if name != "exact":
        assert not np.array_equal(solver.solve(qubo, seed=6).samples, solution.samples)


@pytest.mark.parametrize("name", ["exact", "greedy", "annealing", "path_integral"])
@pytest.mark.parametrize("form", FORMS)
def test_small_problems_are_solved(name, form):
    solver = make_solver(name, **({} if name in ("exact", "greedy") else {"reads": 100, "sweeps": 50}))
    for seed in range(3):
        qubo = problem(form, seed)
        states = (np.arange(1 << qubo.n)[:, None] >> np.arange(qubo.n)) & 1
        assert solver.solve(qubo).energy == pytest.approx(qubo.energy(states)[qubo.feasible(states)].min())


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_a_list_and_its_problems_have_seeds_of_their_own(name):
    solver = make_solver(name)
    qubos = [problem(seed=3), problem("one_hot"), problem(seed=3)]
    solutions = solver.submit(qubos, seed=1).result()
    assert [len(solution.bits) for solution in solutions] == [10, 10, 10]
    np.testing.assert_array_equal(solutions[0].samples, solver.solve(qubos[0], seed=1).samples)
    if name != "exact":
        first, _, other = solutions
        assert not (np.array_equal(first.samples, other.samples) and np.array_equal(first.trace, other.trace))
    assert solver.submit([]).result() == []


@pytest.mark.parametrize("name", NAMES)
def test_one_variable_and_no_energy_at_all(name):
    assert make_solver(name).solve(Qubo([[-2.0]], 1.0)).energy == -1.0
    assert make_solver(name).solve(Qubo(np.zeros((3, 3)))).energy == 0.0
    for cardinality in (0, 3):
        solution = make_solver(name).solve(Qubo(np.ones((3, 3)), cardinality=cardinality))
        assert solution.bits.tolist() == [cardinality // 3] * 3


def test_exact_gives_the_best_and_refuses_what_is_too_large():
    qubo = problem("both")
    solution = make_solver("exact", samples=4).solve(qubo)
    np.testing.assert_array_equal(solution.samples, qubo.k_best(4)[0])
    assert solution.cost.evaluations == qubo.feasible_space().size == 6 * 10
    with pytest.raises(ProblemError, match="solver=exact: 33554432 feasible states; up to 16777216"):
        make_solver("exact").submit(Qubo(np.eye(25)))


@pytest.mark.parametrize("form", FORMS)
def test_random_samples_are_uniform_over_the_feasible_states(form):
    qubo = problem(form)
    solution = make_solver("random", shots=40_000).solve(qubo)
    assert solution.feasible.all()
    assert solution.cost.shots == solution.cost.evaluations == 40_000
    states = (np.arange(1 << qubo.n)[:, None] >> np.arange(qubo.n)) & 1
    counts = shares(qubo, solution.samples)[qubo.feasible(states)] * 40_000
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def neighbours(qubo, x):
    """All feasible states that one move reaches: a flip, or an exchange of a 1 and a 0 within a constraint."""
    bound = [i for group, _ in qubo.groups for i in group]
    pairs = [(i, j) for group, _ in qubo.groups for i in group for j in group if x[i] > x[j]]
    for move in [(i,) for i in range(qubo.n) if i not in bound] + pairs:
        y = x.copy()
        y[list(move)] ^= 1
        yield y


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_greedy_ends_in_local_minima_of_its_moves(form, seed):
    qubo = problem(form, seed)
    solution = make_solver("greedy", restarts=20).solve(qubo, seed)
    assert solution.feasible.all()
    assert len(solution.samples) == solution.cost.shots == 20
    for x, energy in zip(solution.samples, solution.energies, strict=True):
        assert min(qubo.energy(y) for y in neighbours(qubo, x)) >= energy - 1e-9


def test_a_descent_counts_every_move_that_it_tries():
    # From the minimum: the start, and every move once.
    for qubo, moves in [
        (Qubo(np.eye(6)), 6),
        (Qubo(np.diag(np.arange(6.0)), one_hot=[(0, 1, 2, 3), (4, 5)]), 3 + 1),
        (Qubo(np.diag(np.arange(6.0)), cardinality=2), 2 * 4 + 4 * 2),  # from each variable's side
    ]:
        best, _ = qubo.minimum()
        bits, evaluations = descend(qubo, np.array([best, best]), np.random.default_rng(0))
        np.testing.assert_array_equal(bits, [best, best])
        assert evaluations.tolist() == [1 + moves] * 2
    # From the other end of a separable problem, one pass to go down and none that improves after the last move.
    _, evaluations = descend(Qubo(np.eye(6)), np.ones((1, 6), np.uint8), np.random.default_rng(0))
    assert evaluations.tolist() == [1 + 6 + 6 - 1 + 1]


def test_greedy_keeps_within_a_number_of_evaluations():
    qubo = problem()
    all_of_them = make_solver("greedy", restarts=64).solve(qubo, seed=2)
    few = make_solver("greedy", restarts=64, evaluations=500).solve(qubo, seed=2)
    many = make_solver("greedy", restarts=4, evaluations=20_000).solve(qubo, seed=2)
    assert few.cost.evaluations <= 500 < all_of_them.cost.evaluations
    assert 1 < len(few.samples) < 64
    np.testing.assert_array_equal(few.samples, all_of_them.samples[: len(few.samples)])
    assert 19_500 < many.cost.evaluations <= 20_000
    assert len(make_solver("greedy", evaluations=1).solve(qubo).samples) == 1


def test_annealing_at_a_constant_temperature_follows_the_boltzmann_law():
    qubo = Qubo(np.random.default_rng(1).normal(size=(7, 7)) / 2, 3.0)
    for beta in (0.5, 2.0):
        law = scipy.special.softmax(-beta * qubo.diagonal())
        solver = make_solver("annealing", reads=10_000, sweeps=100, beta_range=(beta, beta))
        solution = solver.solve(qubo)
        assert distance(law, solution.samples, qubo) < 1.5
        assert solution.cost.evaluations == 10_000 * 100 * 7
        assert solution.cost.shots == 10_000


@pytest.mark.parametrize("form", ["one_hot", "cardinality", "both"])
def test_annealing_by_moves_follows_the_boltzmann_law_of_feasible_states(form):
    qubo = problem(form, seed=2)
    law = np.zeros(1 << qubo.n)
    states = (np.arange(1 << qubo.n)[:, None] >> np.arange(qubo.n)) & 1
    feasible = qubo.feasible(states)
    law[feasible] = scipy.special.softmax(-0.7 * qubo.energy(states[feasible]))
    solution = make_solver("annealing", reads=6_000, sweeps=30, beta_range=(0.7, 0.7)).solve(qubo)
    assert solution.feasible.all()
    assert distance(law, solution.samples, qubo) < 1.5
    assert solution.cost.evaluations == 6_000 * 30 * 10


def test_annealing_by_penalties_is_there_for_comparison():
    qubo = problem("one_hot")
    kept = make_solver("annealing", reads=50, sweeps=10).solve(qubo)
    free = make_solver("annealing", reads=50, sweeps=10, constraints="penalties", penalty=0.1).solve(qubo)
    assert kept.feasible.all()
    assert not free.feasible.all()
    assert kept.cost.evaluations == free.cost.evaluations


def test_path_integral_at_a_constant_field_follows_the_quantum_gibbs_law():
    n, field = 5, 0.9
    qubo = Qubo(np.random.default_rng(1).normal(size=(n, n)))
    flips = sum(np.kron(np.kron(np.eye(1 << (n - 1 - i)), [[0, 1], [1, 0]]), np.eye(1 << i)) for i in range(n))
    law = scipy.linalg.expm(-np.diag(qubo.diagonal()) + field * flips).diagonal()
    classical = scipy.special.softmax(-qubo.diagonal())
    solver = make_solver("path_integral", reads=5_000, sweeps=40, beta_range=(1, 1), field_range=(field, field))
    samples = solver.solve(qubo).samples
    assert distance(law / law.sum(), samples, qubo) < 1.5
    assert distance(classical, samples, qubo) > 3


@pytest.mark.parametrize("name", ["annealing", "path_integral"])
def test_descent_is_an_option_that_is_counted(name):
    qubo = problem("one_hot")
    options = {"reads": 30, "sweeps": 2, "penalty": 0.1}
    options |= {"constraints": "penalties"} if name == "annealing" else {}
    raw = make_solver(name, **options).solve(qubo, seed=1)
    assert not raw.feasible.all()
    better = make_solver(name, **options, descent=True).solve(qubo, seed=1)
    assert better.feasible.all()
    assert better.about["repaired"] == (~raw.feasible).sum()
    assert better.cost.evaluations > raw.cost.evaluations == 30 * 2 * 10
    for x, energy in zip(better.samples, better.energies, strict=True):
        assert min(qubo.energy(y) for y in neighbours(qubo, x)) >= energy - 1e-9


@pytest.mark.parametrize("name", ["exact", "greedy", "annealing", "path_integral"])
def test_shuffled_problems_tell_nothing_about_the_true_one(name):
    ranks = []
    solver = make_solver(name, shuffle=True, **({} if name in ("exact", "greedy") else {"reads": 30, "sweeps": 30}))
    for seed in range(20):
        qubo = problem("one_hot", seed)
        space = qubo.feasible_space().energies()
        solution = solver.solve(qubo, seed)
        np.testing.assert_allclose(solution.energies, qubo.energy(solution.samples))
        ranks.append((space < solution.energies[solution.feasible].mean()).mean())
    assert 0.25 < np.mean(ranks) < 0.75  # 0.5 is a random state, the minimum 0


class Annealer:
    """A backend that anneals: uniform bits, after a while, and a bill."""

    name = "annealer"
    capabilities = Capabilities(anneals=True)
    limits = Limits()

    def __init__(self, seconds=0.0, error=None):
        self.seconds, self.error, self.programs = seconds, error, []
        self.cancelled = threading.Event()

    def estimate(self, program):
        return Cost()

    def submit(self, program, key, seed=0):
        self.programs.append((program, key, seed))
        rng = np.random.default_rng(seed)
        samples = tuple(rng.integers(0, 2, (program.reads, qubo.n), np.uint8) for qubo in program.qubos)
        cost = Cost(shots=sum(map(len, samples)), qpu_seconds=0.3, dollars=0.6)
        result = Result(samples=samples, cost=cost, about={"origin": "fallback", "embedding": 4})

        def work(stop):
            if stop.wait(self.seconds):
                self.cancelled.set()
            if self.error:
                raise self.error
            return result

        return ThreadJob(key, work) if self.seconds or self.error else FinishedJob(key, result)

    def find(self, key):
        return None

    def close(self):
        pass


@pytest.mark.parametrize("name", ["annealing", "path_integral"])
def test_a_backend_gets_penalties_in_one_program_and_its_bill_is_shared(name):
    backend = Annealer()
    solver = make_solver(name, backend=backend, reads=7, options={"annealing_time": 20})
    qubos = [problem("one_hot"), problem("cardinality"), problem()]
    job = solver.submit(qubos, seed=9)
    solutions = job.result()
    ((program, key, seed),) = backend.programs
    assert (key, seed, program.reads, program.options) == (job.key, 9, 7, {"annealing_time": 20})
    for sent, qubo in zip(program.qubos, qubos, strict=True):
        assert not sent.constrained
        np.testing.assert_allclose(sent.matrix, qubo.penalised().matrix)
    total = sum(solution.cost for solution in solutions)
    assert total.shots == 21
    assert total.qpu_seconds == pytest.approx(0.3)
    assert total.dollars == pytest.approx(0.6)
    assert [solution.origin for solution in solutions] == ["fallback"] * 3
    assert solutions[0].about["embedding"] == 4
    assert not solutions[0].feasible.all()


def test_submit_does_not_wait_and_cancelling_reaches_the_backend():
    backend = Annealer(seconds=30)
    job = make_solver("annealing", backend=backend).submit(problem())
    assert not job.done()
    with pytest.raises(TimeoutError):
        job.result(timeout=0.01)
    while not backend.programs:
        time.sleep(0.01)
    assert job.cancel()
    with pytest.raises(Cancelled):
        job.result(timeout=10)
    assert backend.cancelled.wait(10)


def test_what_goes_wrong_at_the_backend_is_raised():
    backend = Annealer(seconds=0.01, error=TimeoutError("the queue is full"))
    with pytest.raises(TimeoutError, match="the queue is full"):
        make_solver("annealing", backend=backend).solve(problem())


@pytest.mark.parametrize("name", ["annealing", "path_integral"])
@pytest.mark.parametrize("form", ["free", "one_hot"])
def test_an_anneal_here_is_cancelled_between_reads(name, form):
    job = make_solver(name, reads=100_000, sweeps=1000).submit(problem(form))
    time.sleep(0.05)
    job.cancel()
    with pytest.raises(Cancelled):
        job.result(timeout=20)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("exact", {"samples": 0}, r"solver\.samples=0"),
        ("greedy", {"restart": 3}, r"solver\.restart: .* did you mean restarts"),
        ("annealing", {"beta_range": (0, 1)}, r"solver\.beta_range"),
        ("annealing", {"penalty": -1.0}, r"solver\.penalty"),
        ("path_integral", {"field_range": (1,)}, r"solver\.field_range"),
        ("annealing", {"options": {"annealing_time": 20}}, "only an annealing backend"),
    ],
)
def test_options_out_of_range_are_refused(name, options, message):
    with pytest.raises(ProblemError, match=message):
        make_solver(name, **options)


@pytest.mark.parametrize("name", ["exact", "random", "greedy"])
def test_solvers_that_run_here_take_no_backend(name):
    with pytest.raises(ProblemError, match=f"backend=annealer: {name} runs on no backend"):
        make_solver(name, backend=Annealer())
