"""Grover: the circuits against the closed law, the search against a state vector, its queries and its end."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit.quantum_info import Statevector

from hybrid_opt import Cost, ProblemError, Qubo, make_solver
from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import CircuitProgram
from hybrid_opt.circuits.grover import Rounded, feasible_superposition, grover_circuit, success_probability

CONSTRAINTS: list[dict[str, Any]] = [
    {},
    {"one_hot": [(0, 2)]},
    {"one_hot": [(3, 1, 0)], "cardinality": 2},
    {"one_hot": [(0, 1), (4, 3)]},
    {"cardinality": 2},
    {"cardinality": 0},
    {"cardinality": 5},
    {"cardinality": 4},
]


def problem(n: int, seed: int, integers: bool = True, **constraints: Any) -> Qubo:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-1, 2, (n, n)) if integers else rng.normal(size=(n, n))
    return Qubo(matrix, 0.25, **constraints)


def all_bits(n: int) -> NDArray[np.int64]:
    return (np.arange(1 << n)[:, None] >> np.arange(n)) & 1


def law(qubo: Qubo, threshold: float, iterations: int) -> NDArray[np.float64]:
    """Probabilities [2^n] by the formula."""
    bits = all_bits(qubo.n)
    feasible = qubo.feasible(bits)
    marked = feasible & (qubo.energy(bits) < threshold)
    good = np.sin((2 * iterations + 1) * np.arcsin(np.sqrt(marked.sum() / feasible.sum()))) ** 2
    rest = feasible & ~marked
    return good * marked / max(1, marked.sum()) + (1 - good) * rest / max(1, rest.sum())


@pytest.mark.parametrize("constraints", CONSTRAINTS)
def test_superposition_is_uniform_over_the_feasible_states(constraints: dict[str, Any]) -> None:
    qubo = problem(5, 0, **constraints)
    feasible = qubo.feasible(all_bits(5))
    amplitudes = Statevector(feasible_superposition(qubo)).data
    assert np.allclose(amplitudes, feasible / np.sqrt(feasible.sum()), atol=1e-12)


@pytest.mark.parametrize("oracle", ["comparison", "diagonal"])
@pytest.mark.parametrize("constraints", CONSTRAINTS[:5])
def test_circuit_follows_the_law(constraints: dict[str, Any], oracle: Any) -> None:
    qubo = problem(4, 1) if not constraints else problem(5, 2, **constraints)
    energies = np.sort(qubo.energy(all_bits(qubo.n)[qubo.feasible(all_bits(qubo.n))]))
    for iterations, threshold in ((1, energies[2]), (2, energies[1] + 0.5), (1, energies[-1] + 9), (1, energies[0])):
        state = Statevector(grover_circuit(qubo, threshold, iterations, oracle)).probabilities()
        assert np.allclose(state[: 1 << qubo.n], law(qubo, threshold, iterations), atol=1e-9)  # the register is 0 again


def test_rounded_comparison_marks_what_the_rounded_energies_say() -> None:
    qubo = problem(4, 3, integers=False)
    rounded = Rounded(qubo, precision=4)
    coarse = Qubo(np.zeros((4, 4)) + sum(_term(*term) for term in rounded.terms))
    threshold = float(np.median(qubo.energy(all_bits(4))))
    state = Statevector(grover_circuit(qubo, threshold, 1, precision=4)).probabilities()[:16]
    assert np.allclose(state, law(coarse, rounded.threshold(threshold), 1), atol=1e-9)
    bound = rounded.unit * (len(rounded.terms) + 1) / 2
    assert np.abs(coarse.energy(all_bits(4)) * rounded.unit + qubo.offset - qubo.energy(all_bits(4))).max() <= bound


def _term(variables: tuple[int, ...], coefficient: int) -> NDArray[np.float64]:
    matrix = np.zeros((4, 4))
    matrix[variables[0], variables[-1]] = coefficient
    return matrix


@pytest.mark.parametrize(
    ("backend", "oracle"),
    [
        ("statevector", "diagonal"),
        ("statevector", "comparison"),
        ("lightning", "diagonal"),
        ("aer", "diagonal"),
        ("aer", "comparison"),
    ],
)
def test_backends_agree(backend: str, oracle: Any) -> None:
    qubo = problem(5, 4, one_hot=[(0, 1, 2)])
    threshold = float(np.quantile(qubo.feasible_space().energies(), 0.1))
    opened = open_backend(backend)
    program = CircuitProgram(grover_circuit(qubo, threshold, 1, oracle), np.zeros((1, 0)))
    got = opened.submit(program, "key").result().probabilities[0]
    assert np.abs(got[:32] - law(qubo, threshold, 1)).max() < 1e-6
    opened.close()


def test_field_notes_of_one_marked_in_a_thousand() -> None:
    assert success_probability(24, 1, 1000) == pytest.approx(0.9996, abs=5e-5)
    assert success_probability(31, 1, 1000) == pytest.approx(0.83, abs=5e-3)


def search_by_state_vector(energies: NDArray[np.float64], rng: np.random.Generator, limit: int) -> float:
    """Queries to the first hit, with every Grover iteration applied to amplitudes; infinite for none."""
    size, spent, width, best = len(energies), 0, 1.0, np.inf
    while spent < limit:
        iterations = int(min(rng.integers(int(np.ceil(width))), limit - spent - 1)) if spent else 0
        state = np.full(size, size**-0.5)
        for _ in range(iterations):
            state[energies < best] *= -1
            state = 2 * state.mean() - state
        measured = energies[rng.choice(size, p=state**2 / (state**2).sum())]
        spent += iterations + 1
        if measured < best:
            best, width = measured, 1.0
        else:
            width = min(1.2 * width, size**0.5)
        if best == energies.min():
            return spent
    return np.inf


def test_search_is_that_of_the_state_vector() -> None:
    """The queries to the first hit have the same law: two-sample Kolmogorov-Smirnov at 1e-3."""
    from scipy.stats import ks_2samp

    runs, qubo = 500, Qubo(np.random.default_rng(5).normal(size=(6, 6)))
    solutions = make_solver("grover").submit([qubo] * runs, seed=1).result()
    ours = [np.inf if (hit := solution.about["first_hit"]) is None else hit for solution in solutions]
    rng, energies = np.random.default_rng(2), qubo.energy(all_bits(6))
    theirs = [search_by_state_vector(energies, rng, 72) for _ in range(runs)]
    assert ks_2samp(np.minimum(ours, 99), np.minimum(theirs, 99)).pvalue > 1e-3


def test_finds_the_optimum_by_default() -> None:
    """With probability >= 0.998: of 400 runs no more than 5 miss (0.8 are expected; 2e-4 to be above)."""
    qubos = [problem(n, seed, integers=False) for n in (6, 8) for seed in range(200)]
    solutions = make_solver("grover").submit(qubos, seed=3).result()
    missed = [s.energy > q.minimum()[1] + 1e-9 for s, q in zip(solutions, qubos, strict=True)]
    assert sum(missed) <= 5
    assert all((s.about["first_hit"] is None) == miss for s, miss in zip(solutions, missed, strict=True))


@pytest.mark.slow
def test_queries_grow_with_the_square_root() -> None:
    sizes, means = (6, 8, 10, 12, 14), []
    for n in sizes:
        qubos = [problem(n, seed, integers=False) for seed in range(200)]
        hits = [solution.about["first_hit"] for solution in make_solver("grover").submit(qubos, seed=n).result()]
        means.append(np.mean([hit for hit in hits if hit is not None]))
    slope = np.polyfit(np.array(sizes) * np.log(2), np.log(means), 1)[0]
    assert abs(slope - 0.5) < 0.05


@pytest.mark.parametrize("constraints", CONSTRAINTS)
def test_searches_feasible_states_only(constraints: dict[str, Any]) -> None:
    qubo = problem(5, 6, **constraints)
    solution = make_solver("grover").solve(qubo, seed=1)
    states = int(qubo.feasible(all_bits(5)).sum())
    assert solution.feasible.all()
    assert solution.about["states"] == states
    assert solution.cost.queries == int(9 * np.sqrt(states))


def test_counts_and_trace() -> None:
    qubo = problem(7, 7)
    solution = make_solver("grover", queries=50).solve(qubo, seed=2)
    measured = len(solution.samples)
    assert solution.cost.queries == 50
    assert solution.cost.training == Cost()
    assert (solution.cost.shots, solution.cost.circuits, solution.cost.evaluations) == (measured,) * 3
    assert np.array_equal(solution.energies, qubo.energy(solution.samples))
    assert solution.trace is not None
    assert solution.trace[-1].tolist() == [50, solution.energy]
    assert (np.diff(solution.trace[:, 1]) <= 0).all()
    hits = solution.trace[solution.trace[:, 1] == qubo.minimum()[1]]
    assert solution.about["first_hit"] == (hits[0, 0] if len(hits) else None)


def test_seed_fixes_the_result() -> None:
    qubos, solver = [problem(6, seed) for seed in range(3)], make_solver("grover")
    first, again = (solver.submit(qubos, seed=4).result() for _ in range(2))
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].samples, solver.solve(qubos[0], seed=5).samples[: len(first[0].samples)])


def test_equal_energies_end_too() -> None:
    solution = make_solver("grover").solve(Qubo(np.zeros((4, 4)), 2.5))
    assert (solution.energy, solution.cost.queries, solution.about["first_hit"]) == (2.5, 36, 1)


@pytest.mark.parametrize("oracle", ["comparison", "diagonal"])
def test_real_circuits_find_the_optimum(oracle: str) -> None:
    qubo = problem(4, 8, one_hot=[(0, 1)])
    backend = open_backend("statevector")
    solution = make_solver("grover", backend=backend, oracle=oracle).solve(qubo, seed=3)
    assert solution.energy == qubo.minimum()[1]
    assert solution.feasible.all()
    assert solution.cost.queries == int(9 * np.sqrt(8))
    assert solution.cost.shots == solution.cost.circuits == len(solution.samples)
    again = make_solver("grover", backend=backend, oracle=oracle).solve(qubo, seed=3)
    assert np.array_equal(again.samples, solution.samples)


def test_shuffled_problem_is_another_one() -> None:
    found = [make_solver("grover", shuffle=True).solve(problem(8, seed, False), seed=1).energy for seed in range(8)]
    assert sum(e > problem(8, s, False).minimum()[1] + 1e-9 for s, e in enumerate(found)) >= 6


def test_refusals() -> None:
    with pytest.raises(ProblemError, match="33554432 feasible states; up to 16777216 are accepted"):
        make_solver("grover").submit(Qubo(np.eye(25)))
    blocks = [tuple(range(i, i + 5)) for i in range(0, 30, 5)]
    make_solver("grover", queries=3).solve(Qubo(np.eye(30), one_hot=blocks))  # 5^6 states
    for options, message in (({"growth": 1.5}, "solver.growth=1.5"), ({"oracle": "magic"}, "solver.oracle='magic'")):
        with pytest.raises(ProblemError, match=message):
            make_solver("grover", **options)
