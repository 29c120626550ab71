"""What must not matter: a constant offset, the order of the variables, the type of the numbers, a forbidding entry."""

from itertools import combinations, pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_opt import ProblemError, Qubo, make_solver
from hybrid_opt.search.axis import Axis

SOLVERS: dict[str, dict[str, Any]] = {
    "exact": {"samples": 4},
    "random": {},
    "greedy": {},
    "annealing": {},
    "path_integral": {},
    "qaoa": {"layers": 3, "shots": 64},
    "grover": {},
    "vqe": {"training": "adjoint", "layers": 1, "shots": 64},
}


def matrix(n: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, n))


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("offset", [1e3, 2.0**40])
def test_an_offset_changes_nothing_but_energies(name: str, offset: float) -> None:
    """Training circuits, angles, samples and the best state: the offset is added at the end."""
    solver = make_solver(name, **SOLVERS[name])
    plain, moved = (solver.solve(Qubo(matrix(), constant), seed=1) for constant in (0.0, offset))
    assert plain.cost.training.circuits == moved.cost.training.circuits
    assert np.array_equal(plain.samples, moved.samples) and np.array_equal(plain.bits, moved.bits)
    np.testing.assert_allclose(moved.energies, plain.energies + offset, rtol=1e-15)
    if plain.angles is not None:
        np.testing.assert_array_equal(plain.angles, moved.angles)


@pytest.mark.parametrize("name", SOLVERS)
def test_scale_changes_nothing_but_energies(name: str) -> None:
    """Temperatures, steps and tolerances are relative to the coefficients; powers of two are exact."""
    solver = make_solver(name, **SOLVERS[name])
    plain, *others = (solver.solve(Qubo(factor * matrix(), 1.0), seed=1) for factor in (1.0, 2.0**-20, 2.0**20))
    for factor, other in zip((2.0**-20, 2.0**20), others, strict=True):
        assert other.cost.training.circuits == plain.cost.training.circuits
        np.testing.assert_array_equal(other.samples, plain.samples)
        np.testing.assert_allclose(other.energies - 1.0, factor * (plain.energies - 1.0), rtol=1e-9, atol=1e-9)


@settings(max_examples=3)
@given(seed=st.integers(0, 10**6), data=st.data())
@pytest.mark.parametrize("name", SOLVERS)
def test_the_order_of_the_variables_does_not_matter(name: str, seed: int, data: st.DataObject) -> None:
    """The least energy, the training circuits of QAOA's first guess, and energies of any state."""
    order = np.array(data.draw(st.permutations(range(6))))
    m = matrix(6, seed)
    rules = data.draw(st.sampled_from([{}, {"cardinality": 3}, {"one_hot": [(0, 1, 2)]}]))
    moved = dict(rules)
    if "one_hot" in rules:
        moved["one_hot"] = [tuple(np.flatnonzero(np.isin(order, block)).tolist()) for block in rules["one_hot"]]
    options = SOLVERS[name] | ({"descent": True} if name in ("annealing", "path_integral", "qaoa", "vqe") else {})
    solver = make_solver(name, **options)
    one, other = Qubo(m, 2.0, **rules), Qubo(m[np.ix_(order, order)], 2.0, **moved)
    bits = np.random.default_rng(seed).integers(0, 2, (20, 6))
    np.testing.assert_allclose(other.energy(bits[:, order]), one.energy(bits), rtol=1e-12, atol=1e-12)
    assert np.array_equal(other.feasible(bits[:, order]), one.feasible(bits))
    first, second = solver.solve(one, seed=1), solver.solve(other, seed=1)
    least = one.minimum()[1]
    if name not in ("random", "grover"):
        assert first.energy == pytest.approx(least) and second.energy == pytest.approx(least)
    assert one.energy(second.bits[order.argsort()]) == pytest.approx(second.energy)


LAWS: dict[str, dict[str, Any]] = {  # solvers whose samples follow a law of the problem, not of the order of a sweep
    "random": {"shots": 4000},
    "annealing": {"beta_range": (1, 1), "reads": 4000},
    "path_integral": {"beta_range": (1, 1), "field_range": (1, 1), "reads": 1000},
    "qaoa": {"layers": 2, "angles": "transferred", "shots": 4000},
}


@pytest.mark.parametrize("name", LAWS)
def test_the_order_of_the_variables_does_not_change_the_distribution(name: str) -> None:
    """Chi-square of the states' counts in both orders, of states that come at all; a false alarm in 10^4."""
    from scipy.stats import chi2_contingency

    order = np.array([3, 0, 4, 1, 2])
    m = 0.7 * matrix(5, 3)
    solver = make_solver(name, **LAWS[name])
    one = solver.solve(Qubo(m), seed=1).samples
    other = solver.solve(Qubo(m[np.ix_(order, order)]), seed=2).samples[:, order.argsort()]
    counts = np.array([np.bincount(samples @ (1 << np.arange(5)), minlength=32) for samples in (one, other)])
    counts = counts[:, counts.sum(0) >= 10]
    assert len(counts[0]) == 1 or chi2_contingency(counts).pvalue > 1e-4


NUMBERS: dict[str, tuple[Any, Any, Any]] = {  # of arrays, of numbers that are whole, of others
    "float32": (np.float32, np.int32, np.float32),
    "float16": (np.float16, np.uint8, np.float16),
    "torch": (torch.tensor, torch.tensor, torch.tensor),
    "lists": (lambda values: np.asarray(values).tolist(), int, float),
}


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("name", SOLVERS)
def test_the_types_of_numbers_change_no_solution(name: str, kind: str) -> None:
    """Of the matrix, the offset, the constraint, the options and the seed; the numbers are all exact in float16."""
    array, whole, number = NUMBERS[kind]
    m = np.round(4 * matrix(6)) / 4

    def told(value: Any) -> Any:
        typed = isinstance(value, int | float) and not isinstance(value, bool)
        return (whole if isinstance(value, int) else number)(value) if typed else value

    options = {**SOLVERS[name], **({"alpha": 0.5} if name in ("qaoa", "vqe") else {})}
    plain = make_solver(name, **options).solve(Qubo(m, 0.5, cardinality=3), seed=7)
    seed = 7 if kind == "torch" else whole(7)  # a seed is no tensor
    typed = Qubo(array(m), number(0.5), cardinality=3 if kind == "torch" else whole(3))
    other = make_solver(name, **{key: told(value) for key, value in options.items()}).solve(typed, seed=seed)
    assert np.array_equal(other.samples, plain.samples) and np.array_equal(other.energies, plain.energies)
    assert other.cost.training.circuits == plain.cost.training.circuits and other.energy == plain.energy


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), n=st.integers(3, 8), data=st.data())
def test_an_entry_that_forbids_blinds_nobody(seed: int, n: int, data: st.DataObject) -> None:
    """Descents, Grover's search and automatic penalties find the optimum of brute force beside entries of 1e14 to 1e30.

    Their tolerances and weights were parts of the sum of all coefficients.
    """
    rng = np.random.default_rng(seed)
    m = np.round(rng.normal(size=(n, n)), 3)
    m = np.abs(m) if data.draw(st.booleans()) else m
    for _ in range(data.draw(st.integers(1, 2))):
        i, j = rng.choice(n, 2, replace=False)
        m[i, j] = data.draw(st.sampled_from([1e14, 1e17, 1e30]))
    rules = data.draw(
        st.sampled_from([{}, {"cardinality": n // 2}, {"cardinality": n - 1}, {"one_hot": [(0, 1), (2,)]}])
    )
    qubo = Qubo(m, **rules)
    states = np.array(list(product((0, 1), repeat=n)), float)
    states = states[qubo.feasible(states)]
    least = float(np.einsum("si,ij,sj->s", states, m, states).min())
    for name in ("exact", "greedy", "grover"):
        solver = make_solver(name)  # Grover's search misses in one of some 300 seeds, with or without such entries
        found = min(solver.solve(qubo, seed=seed + again).energy for again in range(3 if name == "grover" else 1))
        assert found == pytest.approx(least, rel=1e-9, abs=1e-9), name
    if qubo.constrained and least < 1e10:
        bits, energy = qubo.penalised().minimum()
        assert qubo.feasible(bits) and qubo.energy(bits) == pytest.approx(least, rel=1e-9, abs=1e-9)
        assert energy == pytest.approx(least, rel=1e-6, abs=1e-6)


RULES: list[dict[str, Any]] = [{}, {"cardinality": 5}, {"one_hot": [(0, 1, 2), (4, 5)]}]


def split(rng: np.random.Generator, n: int, forbidding: int, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients [n, n] of ordinary size, and in other places the integer numbers of forbidding ones."""
    small, counts = np.triu(np.round(rng.normal(size=(n, n)), 3)), np.zeros((n, n), int)
    for _ in range(forbidding):
        i, j = sorted(rng.choice(n, 2))
        counts[i, j] = rng.choice([1, 1, 2, 3]) * (sign or rng.choice([-1, 1]))
        small[i, j] = 0.0
    return small, counts


HEURISTIC: dict[str, dict[str, Any]] = {
    "greedy": {},
    "annealing": {"reads": 16},
    "path_integral": {"reads": 16},
    "qaoa": {},
    "grover": {},
    "vqe": {"shots": 256},
    "exact": {},
}


@pytest.mark.parametrize("name", HEURISTIC)
def test_solvers_see_what_is_small_beside_entries_that_forbid_or_demand(name: str) -> None:
    """Each finds the optimum of brute force, in which forbidding ones come first: floats of energies lose the rest."""
    for seed in range(12):
        forbidding, sign = (1, 3)[seed % 2], (1, -1, 0)[seed // 2 % 3]
        small, counts = split(np.random.default_rng(seed), 12, forbidding, sign)
        qubo = Qubo(small + 1e17 * counts, **RULES[seed % 3])
        states = np.array(list(product((0, 1), repeat=12)))
        states = states[qubo.feasible(states)]
        first = np.einsum("si,ij,sj->s", states, counts, states)
        rest = np.einsum("si,ij,sj->s", states, small, states)[first == first.min()].min()
        solution = make_solver(name, **HEURISTIC[name]).solve(qubo, seed=seed)
        bits = solution.bits.astype(int)
        assert bits @ counts @ bits == first.min() and bits @ small @ bits == pytest.approx(rest, abs=1e-9), seed
        assert solution.energy == pytest.approx(qubo.energy(solution.bits), rel=1e-12)  # that of the true problem


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e9, 1e17, 1e100]), data=st.data())
def test_clipped_keeps_the_order_of_all_states(seed: int, scale: float, data: st.DataObject) -> None:
    """Against integers; entries of two sizes that forbid, one far above the other, and opposite ones."""
    rng = np.random.default_rng(seed)
    small, counts = split(rng, 5, data.draw(st.integers(0, 4)), 0)
    top = np.zeros_like(counts)
    if data.draw(st.booleans()):
        small[0, 4], counts[0, 4], top[0, 4] = 0, 0, 1
    qubo = Qubo(small + scale * counts + 1e12 * scale * top)
    made = qubo.clipped()
    states = np.array(list(product((0, 1), repeat=5)))
    parts = [np.einsum("si,ij,sj->s", states, part, states) for part in (top, counts, np.rint(1000 * small))]
    forms, ranks = made.form(states), [tuple(int(part[k]) for part in parts) for k in range(32)]
    for low, high in pairwise(sorted(range(32), key=ranks.__getitem__)):
        assert forms[low] < forms[high] or (ranks[low] == ranks[high] and forms[low] == pytest.approx(forms[high]))
    assert np.abs(made.matrix).max() < 1e5 and made.clipped() is made


def test_ordinary_coefficients_are_not_clipped() -> None:
    """Those of all sizes, and what rounding leaves of coefficients that cancel."""
    rng = np.random.default_rng(0)
    rounded = np.triu(rng.integers(-3, 4, (6, 6)) * 0.5)
    rounded[0, 1] = 2.8e-17
    for m in (matrix(6), np.zeros((3, 3)), np.eye(3), 1e17 * np.eye(3), 10.0 ** rng.uniform(-9, 9, (9, 9)), rounded):
        qubo = Qubo(m)
        assert qubo.clipped() is qubo


def test_a_descent_sees_the_small_coefficients_of_a_row_that_forbids() -> None:
    """The fields of both rows are some 1e17 on the way; what is left of their digits after that is not trusted."""
    from hybrid_opt.solvers.local_search import descend

    m = np.diag([-1.0, -2.0, -0.5, 0.25])
    m[0, 1] = 1e17
    for rules in ({}, {"cardinality": 2}, {"one_hot": [(0, 1, 2, 3)]}):
        qubo = Qubo(m, **rules)
        starts = np.array(list(product((0, 1), repeat=4)))
        minima, _ = descend(qubo, starts[qubo.feasible(starts)], np.random.default_rng(0))
        assert qubo.minimum()[1] in qubo.energy(minima) and (qubo.energy(minima) < 0).all()


@pytest.mark.parametrize("name", ["annealing", "path_integral"])
def test_energies_whose_squares_are_no_floats_are_annealed(name: str) -> None:
    m = np.round(8 * matrix(4))
    for scale in (2.0**-700, 2.0**-1060):
        solution = make_solver(name).solve(Qubo(scale * m), seed=1)
        assert np.array_equal(solution.energies, Qubo(scale * m).energy(solution.samples))
    plain, tiny = (make_solver(name).solve(Qubo(scale * m), seed=1) for scale in (1.0, 2.0**-700))
    assert np.array_equal(plain.bits, tiny.bits)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 9), data=st.data())
def test_exact_against_brute_force(seed: int, n: int, data: st.DataObject) -> None:
    """Any cardinality, entries that forbid pairs, any offset, any order of the variables."""
    rng = np.random.default_rng(seed)
    k = data.draw(st.integers(0, n))
    m = np.round(rng.normal(size=(n, n)), 3)
    sign = data.draw(st.sampled_from([1, -1]))  # of all: opposite ones cancel, in the oracle too
    for _ in range(data.draw(st.integers(0, 2))):
        i, j = rng.choice(n, 2, replace=False)
        m[i, j] = sign * data.draw(st.sampled_from([1e14, 1e17, 1e30]))
    order = rng.permutation(n)
    offset = data.draw(st.sampled_from([0.0, 1e6, 1e17]))
    states = np.zeros((0, n)) if k else np.zeros((1, n))
    rows = [np.isin(np.arange(n), chosen) for chosen in combinations(range(n), k)] if k else [np.zeros(n, bool)]
    states = np.array(rows, float)
    forms = np.einsum("si,ij,sj->s", states, m, states)
    best = Qubo(m, cardinality=k).minimum()[0]
    assert best.sum() == k and float(best @ m @ best) == pytest.approx(forms.min(), rel=1e-9, abs=1e-9)
    moved = Qubo(m[np.ix_(order, order)], offset, cardinality=k).minimum()[0]
    back = np.empty(n)
    back[order] = moved
    assert float(back @ m @ back) == pytest.approx(forms.min(), rel=1e-9, abs=1e-9)


def test_a_forbidding_entry_and_a_large_cardinality() -> None:
    m = np.diag([4, 1, 3, 2, 0.5])
    m[0, 1] = 1e17
    solution = make_solver("exact").solve(Qubo(m, cardinality=3))
    assert np.flatnonzero(solution.bits).tolist() == [1, 3, 4] and solution.energy == 3.5


def test_a_forbidding_entry_and_half_of_all() -> None:
    m = np.diag([1.0, 1, 1, -20, 1, 1])
    m[:3, 3] = 1e17, 5, 6
    assert Qubo(m, cardinality=3).minimum() == (pytest.approx([0, 0, 0, 1, 1, 1]), -18.0)


@pytest.mark.parametrize("rules", [{"cardinality": 2}, {"one_hot": [(0, 2), (1, 3)]}, {"one_hot": [(0, 2)]}])
def test_penalties_beside_a_forbidding_entry(rules: Any) -> None:
    """Their weights do not round the other entries away."""
    m = np.diag([-4, -1, 0.25, -2, 0.5])
    m[0, 1] = m[3, 1] = 1e17
    qubo = Qubo(m, **rules)
    bits, energy = qubo.penalised().minimum()
    assert bits.tolist() == qubo.minimum()[0].tolist() and energy == pytest.approx(qubo.minimum()[1], rel=1e-9)


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.float16, "torch", "list", "Fraction"])
def test_types_of_numbers(kind: Any) -> None:
    from fractions import Fraction

    m = np.array([[1, -2, 0], [0, 3, 1], [0, 0, -1]])
    made: Any = (
        {"torch": lambda: torch.tensor(m), "list": lambda: m.tolist()}.get(kind, lambda: m.astype(kind))()
        if (kind != "Fraction")
        else [[Fraction(int(v)) for v in row] for row in m]
    )
    number = {"torch": torch.tensor(2), "list": 2, "Fraction": Fraction(2)}.get(kind) or np.int64(2)
    qubo = Qubo(made, number, cardinality=None if kind in ("torch", "Fraction") else number)
    expected = Qubo(m.astype(float), 2.0, cardinality=qubo.cardinality)
    assert np.array_equal(qubo.diagonal(), expected.diagonal()) and qubo.minimum()[1] == expected.minimum()[1]
    assert np.array_equal(qubo.penalised(np.float32(3)).matrix, expected.penalised(3.0).matrix)


@pytest.mark.parametrize("name", SOLVERS)
def test_bits_are_signed(name: str) -> None:
    solution = make_solver(name, **SOLVERS[name]).solve(Qubo(matrix(4)))
    for bits in (
        solution.bits,
        solution.samples,
        Qubo(matrix(4)).minimum()[0],
        Qubo(matrix(4)).repair([1, 0, 1, 1])[0],
    ):
        assert set(np.unique(1 - 2 * bits)) <= {-1, 1}
    assert np.array_equal(solution.spins, 1 - 2 * solution.bits.astype(int))


@pytest.mark.parametrize("bits", [[255, 0], [-1, 1], [0.5, 1], [np.nan, 0], [2, 0]])
def test_other_values_than_bits_are_refused(bits: list[float]) -> None:
    qubo = Qubo(np.eye(2))
    for question in (qubo.energy, qubo.feasible, qubo.repair):
        with pytest.raises(ProblemError, match=r"^bits: .* is among them; 0 and 1 are accepted"):
            question(bits)
    assert qubo.energy([True, False]) == qubo.energy([1.0, 0.0]) == 1.0


WRONG: dict[str, tuple[Any, str]] = {
    "complex": (lambda: Qubo(np.eye(2) * 1j), r"matrix: not of real numbers \(complex numbers\)"),
    "complex torch": (lambda: Qubo(torch.eye(2) * 1j), "matrix: not of real numbers"),
    "huge": (lambda: Qubo([[1e300]]), "matrix: an entry of size 1e\\+300; up to 1e\\+150"),
    "flat blocks": (lambda: Qubo(np.eye(3), one_hot=(0, 1, 2)), r"one_hot=\(0, 1, 2\): disjoint, non-empty tuples"),
    "labels as blocks": (
        lambda: Qubo(np.eye(2), one_hot=[("a", "b")], labels="ab"),
        "one_hot=.*tuples of indices 0..1",
    ),
    "fractions as indices": (lambda: Qubo(np.eye(2), one_hot=[(0.9, 1.9)]), "one_hot=.*tuples of indices"),
    "nan ones": (lambda: Qubo(np.eye(2), cardinality=float("nan")), "cardinality=nan: an integer from 0 to 2"),
    "half a one": (lambda: Qubo(np.eye(2), cardinality=1.5), "cardinality=1.5: an integer from 0 to 2"),
    "unhashable labels": (lambda: Qubo(np.eye(2), labels=[[0], [1]]), "labels: unhashable type.*; hashable ones"),
    "mappings": (lambda: Qubo.from_ising({0: 1.0}, {(0, 1): 1.0}), "h, J: mappings; arrays"),
    "never": (lambda: Qubo(np.eye(2)).with_constraint([3, 3], 4), "constraint: value=4 can never hold"),
    "never within": (lambda: Qubo(np.eye(2)).with_constraint([3, 7], bounds=(4, 6)), "bounds=.* can never hold"),
    "large coefficients": (lambda: Qubo(np.eye(2)).with_constraint([10**9, -(10**9)], 0), "constraint: coefficients"),
    "forbidding": (lambda: Qubo([[1, 1e17], [0, 1]]).with_constraint([1, 1], 1), "constraint: its automatic weight"),
    "nan bound": (lambda: Qubo(np.eye(2)).with_constraint([1, 1], bounds=(np.nan, 1)), "constraint: bounds=.* NaN"),
    "one bound": (lambda: Qubo(np.eye(2)).with_constraint([1, 1], bounds=1), "constraint: bounds=1; "),
    "text": (lambda: Qubo([["1"]]), r"matrix: not of real numbers \(<U1\)"),
    "dates": (lambda: Qubo(np.array([["2020-01-01"]], "datetime64[D]")), "matrix: not of real numbers"),
    "masked": (lambda: Qubo(np.ma.masked_array(np.eye(2), np.eye(2))), r"matrix: .*\(masked entries\)"),
    "beyond floats": (lambda: Qubo([[10**400]]), r"matrix: .*\(int too large"),
    "offsets": (lambda: Qubo(np.eye(2), [1, 2]), r"offset=\[1, 2\]: one number"),
    "no labels": (lambda: Qubo(np.eye(2), labels=5), "labels: .*not iterable; hashable ones"),
    "many ones": (lambda: Qubo(np.eye(2), cardinality=10**400), "cardinality=1000"),
    "ragged bits": (lambda: Qubo(np.eye(2)).energy([[1, 0], [1]]), "bits: .*; 0 and 1 of shape"),
    "no bqm": (lambda: Qubo.from_bqm({}), "bqm: a dict; a dimod BinaryQuadraticModel is accepted"),
    "no Ising offset": (lambda: Qubo.from_ising([1], [[0]], "a"), "offset: not of real numbers"),  # type: ignore[arg-type]
    "weight": (lambda: Qubo(np.eye(2)).penalised("5"), "weight=5: auto or a positive number"),
    "matrix": (lambda: make_solver("exact").solve(np.eye(2)), "qubo: a ndarray; a Qubo is accepted"),
    "model": (lambda: make_solver("greedy").solve(Qubo(np.eye(2)).to_bqm()), "qubo: a BinaryQuadraticModel; a Qubo is"),
    "seed": (lambda: make_solver("exact").solve(Qubo(np.eye(2)), seed=-1), "seed=-1: None or an integer >= 0"),
    "half a seed": (lambda: make_solver("qaoa").solve(Qubo(np.eye(2)), seed=1.5), "seed=1.5: None or an integer >= 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_problems_are_one_line(case: str) -> None:
    make, message = WRONG[case]
    with pytest.raises(ProblemError, match=f"^{message}" if not message.startswith("bounds") else message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SOLVERS)
def test_no_problems_and_no_seed(name: str) -> None:
    solver = make_solver(name, **SOLVERS[name])
    assert solver.submit([]).result() == []
    assert solver.solve(Qubo(matrix(3)), seed=None).feasible.all()


def test_ranges_over_all_floats() -> None:
    from optuna.distributions import FloatDistribution

    axis = Axis("x", FloatDistribution(1e-300, 1e300, log=True))
    assert axis.value(0.5) == pytest.approx(1.0, rel=1e-12) and axis.position(1.0) == pytest.approx(0.5)
    wide = Axis("x", FloatDistribution(-1.5e308, 1.5e308))  # its width is no float
    assert [wide.position(wide.value(at)) for at in (0.0, 0.25, 1.0)] == pytest.approx([0.0, 0.25, 1.0])
    assert [axis.value(at) for at in (0.0, 1.0)] == pytest.approx([1e-300, 1e300], rel=1e-12, abs=0)
