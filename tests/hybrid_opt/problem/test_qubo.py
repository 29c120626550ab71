"""Qubo: energies, feasible states, conversions and penalties, against brute force and dimod."""

import itertools

import dimod
import numpy as np
import pytest
import torch

from hybrid_opt import ProblemError, Qubo

CONSTRAINTS = [
    (5, (), None),
    (6, ((0, 2), (5, 3, 1)), None),
    (6, ((0, 1, 2), (3, 4, 5)), None),
    (7, ((6, 2, 3),), 3),
    (8, ((1, 5), (0, 3, 7)), 4),
    (6, ((0, 1, 2), (3, 4, 5)), 2),
    (8, (), 0),
    (8, (), 3),
    (8, (), 6),
    (8, (), 8),
]


def every(n):
    """All states in the order of basis states."""
    return np.array([bits[::-1] for bits in itertools.product((0, 1), repeat=n)], np.uint8)


def problem(seed, n, one_hot=(), cardinality=None):
    return Qubo(np.random.default_rng(seed).normal(size=(n, n)), offset=1.5, one_hot=one_hot, cardinality=cardinality)


def brute(qubo):
    """All states, their energies by the definition, and which of them obey the constraints."""
    states = every(qubo.n)
    energies = np.array([x.astype(float) @ qubo.matrix @ x.astype(float) + qubo.offset for x in states])
    obey = [
        all(sum(x[i] for i in block) == 1 for block in qubo.one_hot)
        and (qubo.cardinality is None or x.sum() == qubo.cardinality)
        for x in states
    ]
    return states, energies, np.array(obey)


@pytest.mark.parametrize(("n", "one_hot", "cardinality"), CONSTRAINTS)
def test_energies_and_feasible_states_are_those_of_brute_force(n, one_hot, cardinality):
    qubo = problem(0, n, one_hot, cardinality)
    states, energies, obey = brute(qubo)
    np.testing.assert_allclose(qubo.energy(states), energies, atol=1e-12)
    np.testing.assert_allclose(qubo.diagonal(), energies, atol=1e-12)
    np.testing.assert_array_equal(qubo.feasible(states), obey)
    space = qubo.feasible_space()
    bits = space.bits(np.arange(space.size))
    assert {tuple(x) for x in bits} == {tuple(x) for x in states[obey]}
    assert space.size == obey.sum() == len({tuple(x) for x in bits})
    np.testing.assert_allclose(space.energies(), qubo.energy(bits), atol=1e-12)


@pytest.mark.parametrize(("n", "one_hot", "cardinality"), CONSTRAINTS)
@pytest.mark.parametrize("k", [1, 3, 1000])
def test_k_best_are_the_least_feasible_energies(n, one_hot, cardinality, k):
    qubo = problem(1, n, one_hot, cardinality)
    _, energies, obey = brute(qubo)
    bits, found = qubo.k_best(k)
    np.testing.assert_allclose(found, np.sort(energies[obey])[:k], atol=1e-12)
    np.testing.assert_allclose(qubo.energy(bits), found, atol=1e-12)
    assert qubo.feasible(bits).all()
    assert len({tuple(x) for x in bits}) == len(bits)
    best, least = qubo.minimum()
    assert qubo.energy(best) == least == found[0]


def test_equal_energies_are_ordered_by_their_number():
    bits, energies = Qubo(np.zeros((3, 3))).k_best(5)
    np.testing.assert_array_equal(bits, every(3)[:5])
    np.testing.assert_array_equal(energies, np.zeros(5))


def test_the_axes_of_a_feasible_space_are_its_blocks():
    qubo = problem(2, 7, ((6, 2, 3), (0, 5)))  # free: 1, 4
    space = qubo.feasible_space()
    assert space.shape == (2, 3, 4)
    energies = space.energies().reshape(space.shape)
    x = np.zeros(7)
    x[[5, 2, 4]] = 1  # block 1 at its position 1, block 0 at its position 1, free bits 01
    assert energies[1, 1, 2] == pytest.approx(qubo.energy(x))


def test_sizes_beyond_what_is_enumerated_are_refused_with_their_bytes():
    with pytest.raises(ProblemError, match=r"25 variables need 268435456 bytes; up to 24 variables"):
        Qubo(np.eye(25)).diagonal()
    with pytest.raises(ProblemError, match=r"33554432 feasible states.*up to 16777216"):
        Qubo(np.eye(25)).minimum()
    blocks = [range(5 * i, 5 * i + 5) for i in range(6)]
    assert Qubo(-np.eye(30), one_hot=blocks).minimum()[1] == -6
    assert Qubo(np.eye(300), cardinality=2).minimum()[1] == 2
    with pytest.raises(ProblemError, match="k=0"):
        Qubo(np.eye(2)).k_best(0)


def test_torch_and_integer_matrices_are_taken_and_copied():
    matrix = torch.tensor([[1.0, 2.0], [0.0, -3.0]], requires_grad=True)
    qubo = Qubo(matrix)
    with torch.no_grad():
        matrix[0, 0] = 99
    np.testing.assert_array_equal(qubo.matrix, [[1, 2], [0, -3]])
    assert qubo.energy(torch.tensor([1, 1])) == 0.0
    assert Qubo([[1, 2], [0, -3]]).energy([1, 0]) == 1.0
    with pytest.raises(ValueError, match="read-only"):
        qubo.matrix[0, 0] = 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"matrix": np.ones((2, 3))}, r"shape \(2, 3\)"),
        ({"matrix": np.ones(4)}, r"shape \(4,\)"),
        ({"matrix": np.zeros((0, 0))}, r"shape \(0, 0\)"),
        ({"matrix": [[np.nan, 0], [0, np.inf]]}, "2 entries are NaN or infinite"),
        ({"matrix": [["a"]]}, "real numbers"),
        ({"matrix": np.eye(2), "offset": np.nan}, "offset=nan"),
        ({"matrix": np.eye(3), "one_hot": [(0, 1), (1, 2)]}, "disjoint"),
        ({"matrix": np.eye(3), "one_hot": [(0, 3)]}, r"indices 0\.\.2"),
        ({"matrix": np.eye(3), "one_hot": [()]}, "non-empty"),
        ({"matrix": np.eye(3), "cardinality": 4}, "cardinality=4: an integer from 0 to 3"),
        ({"matrix": np.eye(3), "one_hot": [(0, 1)], "cardinality": 0}, "from 1 to 2"),
        ({"matrix": np.eye(2), "labels": ["a", "a"]}, "2 different"),
    ],
)
def test_what_is_no_problem_is_refused_by_name(arguments, message):
    with pytest.raises(ProblemError, match=message):
        Qubo(**arguments)


def test_bits_of_another_size_are_refused():
    with pytest.raises(ProblemError, match=r"shape \(4, 2\); \[\.\.\., 3\]"):
        Qubo(np.eye(3)).energy(np.zeros((4, 2)))
    with pytest.raises(ProblemError, match=r"shape \(\)"):
        Qubo(np.eye(3)).feasible(1)


@pytest.mark.parametrize("density", [0.02, 1.0])
@pytest.mark.parametrize("vartype", ["BINARY", "SPIN"])
def test_large_bqms_keep_every_coefficient(density: float, vartype: str) -> None:
    """Entry by entry where the matrix is sparse, as a whole where it is not; dimod is the oracle."""
    rng, n = np.random.default_rng(0), 120
    bqm = dimod.BinaryQuadraticModel(vartype)
    bqm.add_linear_from_array(rng.normal(size=n))
    rows, columns = np.nonzero(np.triu(rng.random((n, n)) < density, 1))
    for i, j, value in zip(rows.tolist(), columns.tolist(), rng.normal(size=len(rows)).tolist(), strict=True):
        bqm.add_quadratic(i, j, value)
    bqm.offset = 1.5
    qubo = Qubo.from_bqm(bqm)
    states = rng.integers(0, 2, (50, n), np.int8)
    shown = 1 - 2 * states if vartype == "SPIN" else states
    np.testing.assert_allclose(qubo.energy(states), bqm.energies((shown, range(n))), atol=1e-9)
    again = qubo.to_bqm()
    assert again.num_interactions == len(rows) and list(again.variables) == list(range(n))
    np.testing.assert_allclose(again.energies((states, range(n))), qubo.energy(states), atol=1e-9)
    if vartype == "BINARY":
        assert again == bqm


def test_bqm_round_trip_keeps_energies_and_labels():
    rng = np.random.default_rng(3)
    qubo = Qubo(rng.normal(size=(5, 5)), 0.7, labels=["a", 3, ("b", 1), "d", 0])
    bqm = qubo.to_bqm()
    assert list(bqm.variables) == list(qubo.labels)
    states = every(5)
    np.testing.assert_allclose(bqm.energies((states, qubo.labels)), qubo.energy(states), atol=1e-12)
    again = Qubo.from_bqm(bqm)
    assert again.labels == qubo.labels
    np.testing.assert_allclose(again.diagonal(), qubo.diagonal(), atol=1e-12)


def test_spin_models_follow_s_is_one_minus_two_x():
    bqm = dimod.BinaryQuadraticModel(
        {"a": 0.5, "b": -1.0, "c": 2.0}, {("a", "b"): 1.5, ("c", "a"): -0.3}, 0.25, dimod.SPIN
    )
    qubo, states = Qubo.from_bqm(bqm), every(3)
    spins = 1 - 2 * states.astype(np.int8)
    np.testing.assert_allclose(qubo.energy(states), bqm.energies((spins, qubo.labels)), atol=1e-12)
    with pytest.raises(ProblemError, match="no variables"):
        Qubo.from_bqm(dimod.BinaryQuadraticModel("SPIN"))


def test_ising_round_trip():
    rng = np.random.default_rng(4)
    h, couplings = rng.normal(size=4), rng.normal(size=(4, 4))
    qubo, states = Qubo.from_ising(h, couplings, 0.3), every(4)
    spins = 1.0 - 2.0 * states
    expected = 0.3 + spins @ h + np.einsum("ki,ij,kj->k", spins, couplings, spins)
    np.testing.assert_allclose(qubo.diagonal(), expected, atol=1e-12)
    fields, pairs, offset = qubo.to_ising()
    np.testing.assert_array_equal(pairs, np.triu(pairs, 1))
    np.testing.assert_allclose(
        offset + spins @ fields + np.einsum("ki,ij,kj->k", spins, pairs, spins), expected, atol=1e-12
    )


@pytest.mark.parametrize(("n", "one_hot", "cardinality"), CONSTRAINTS)
@pytest.mark.parametrize("seed", range(6))
def test_automatic_penalties_keep_feasible_energies_and_raise_all_others(n, one_hot, cardinality, seed):
    qubo = problem(seed, n, one_hot, cardinality)
    _, energies, obey = brute(qubo)
    free = qubo.penalised()
    assert not free.constrained
    np.testing.assert_allclose(free.diagonal()[obey], energies[obey], atol=1e-10)
    assert (free.diagonal()[~obey] > energies[obey].min()).all()
    # No local minimum under single flips is infeasible: some flip towards the constraints always gains.
    for k in np.flatnonzero(~obey):
        assert min(free.diagonal()[k ^ (1 << i)] for i in range(n)) < free.diagonal()[k]


def test_a_penalty_of_a_given_weight():
    qubo = Qubo(np.zeros((3, 3)), cardinality=1)
    np.testing.assert_allclose(qubo.penalised(2.0).diagonal(), [2, 0, 0, 2, 0, 2, 2, 8], atol=1e-12)
    assert qubo.relaxed().diagonal().max() == 0
    assert not qubo.relaxed().constrained
    for weight in (-1, 0, np.nan, "much"):
        with pytest.raises(ProblemError, match="weight="):
            qubo.penalised(weight)


@pytest.mark.parametrize("bounds", [(None, 3), (2, None), (-1, 4), (1, 1), (-5, -1)])
@pytest.mark.parametrize("seed", range(4))
def test_linear_inequalities_hold_at_the_optimum(bounds, seed):
    qubo = problem(seed, 5)
    a = np.array([1, -3, 2, 4, -2])
    low, high = (-np.inf if bounds[0] is None else bounds[0]), (np.inf if bounds[1] is None else bounds[1])
    states, energies, _ = brute(qubo)
    obey = (states @ a >= low) & (states @ a <= high)
    assert obey.any()
    assert not obey.all()
    made = qubo.with_constraint(a, bounds=bounds)
    assert made.labels[:5] == qubo.labels
    # For every x the best slack costs nothing where x obeys, and more than the optimum where it does not.
    best = made.diagonal().reshape(-1, 32).min(0)
    np.testing.assert_allclose(best[obey], energies[obey], atol=1e-9)
    assert (best[~obey] > energies[obey].min()).all()
    assert made.minimum()[1] == pytest.approx(energies[obey].min())


def test_constraints_add_up_without_growing_weights():
    qubo = problem(5, 6, one_hot=((0, 1, 2),))
    first = qubo.with_constraint({0: 1, 3: 1}, 1)
    both = first.with_constraint([0, 0, 0, 1, 1, 1], bounds=(None, 2))
    assert both.one_hot == qubo.one_hot
    assert both.labels[6:] == (("slack", 0), ("slack", 1))
    states, energies, obey = brute(qubo)
    obey &= (states[:, 0] + states[:, 3] == 1) & (states[:, 3:].sum(1) <= 2)
    bits, least = both.minimum()
    assert least == pytest.approx(energies[obey].min())
    assert obey[bits[:6] @ (1 << np.arange(6))]
    assert both.objective_range == qubo.objective_range
    again = both.with_constraint({4: 1, 5: -1}, bounds=(0, None))
    assert again.labels[8:] == (("slack", 2),)


def test_linear_constraints_that_cannot_be_are_refused():
    qubo = Qubo(np.eye(3), labels="abc")
    assert qubo.with_constraint({"a": 1}, bounds=(0, 1)) is qubo
    for arguments, message in [
        (({"d": 1}, 1), "labelled 'd'"),
        (([1, 2], 1), "3 integer coefficients"),
        (([0.5, 1, 1], 1), "3 integer coefficients"),
        (([1, 1, 1], 4), "value=4 can never hold; a'x takes integers from 0 to 3"),
        (([1, 1, 1], 1.5), "value=1.5 can never hold"),
        (([1, 1, 1], None), "either a value or bounds"),
    ]:
        with pytest.raises(ProblemError, match=message):
            qubo.with_constraint(*arguments)
    with pytest.raises(ProblemError, match="penalised"):
        Qubo(np.eye(3), cardinality=1).with_constraint([1, 1, 0], bounds=(None, 1))


@pytest.mark.parametrize(("n", "one_hot", "cardinality"), CONSTRAINTS)
def test_repair_gives_the_nearest_feasible_bits(n, one_hot, cardinality):
    qubo = problem(0, n, one_hot, cardinality)
    states, _, obey = brute(qubo)
    repaired, changed = qubo.repair(states)
    assert qubo.feasible(repaired).all()
    distances = (states[:, None, :] != states[obey][None]).sum(-1).min(1)
    np.testing.assert_array_equal(changed, distances)
    np.testing.assert_array_equal(changed, (states != repaired).sum(1))
    np.testing.assert_array_equal(repaired[obey], states[obey])


def test_repair_keeps_and_sets_the_first_variables():
    repaired, changed = Qubo(np.eye(5), one_hot=[(3, 1, 2)], cardinality=2).repair([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(repaired, [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0]])
    np.testing.assert_array_equal(changed, [3, 2])


def test_shuffling_moves_coefficients_but_keeps_their_values():
    qubo = problem(6, 8, one_hot=((0, 1, 2), (5, 6)))
    other = qubo.shuffled(np.random.default_rng(0))
    assert (other.one_hot, other.labels, other.offset) == (qubo.one_hot, qubo.labels, qubo.offset)
    np.testing.assert_array_equal(np.sort(other.linear), np.sort(qubo.linear))
    inside = np.zeros((8, 8), bool)
    inside[:3, :3] = inside[5:7, 5:7] = True
    for among in (inside & ~np.eye(8, dtype=bool), ~inside):
        np.testing.assert_array_equal(np.sort(other.couplings[among]), np.sort(qubo.couplings[among]))
    assert abs(np.corrcoef(qubo.couplings[~inside], other.couplings[~inside])[0, 1]) < 0.5
    np.testing.assert_array_equal(other.matrix, qubo.shuffled(np.random.default_rng(0)).matrix)
