"""Choices to bits and back: round trips, nearest repairs by brute force, and problems whose optimum is a point."""

import itertools
import math

import numpy as np
import pytest

from hybrid_opt import ProblemError
from hybrid_opt.problem.encoding import Choice, Encoding

CODES = ["one_hot", "domain_wall", "binary"]


def space(*codes):
    codes = codes or CODES
    return Encoding(
        [
            Choice.categorical("act", ["relu", None, "tanh"], codes[0]),
            Choice.integer("units", 1, 5, code=codes[1]),
            Choice.floating("rate", 1e-4, 1e-1, 4, log=True, code=codes[2]),
        ]
    )


def test_codes_are_the_published_ones():
    np.testing.assert_array_equal(Choice("a", (1, 2, 3), "one_hot").table, [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(Choice("a", (1, 2, 3), "domain_wall").table, [[0, 0], [1, 0], [1, 1]])
    np.testing.assert_array_equal(Choice("a", (1, 2, 3), "binary").table, [[0, 0], [1, 0], [0, 1]])
    assert [Choice("a", tuple(range(k)), "binary").table.shape[1] for k in (1, 2, 4, 5, 8, 9)] == [0, 1, 2, 3, 3, 4]


@pytest.mark.parametrize("codes", list(itertools.product(CODES, repeat=3)))
def test_every_point_comes_back_unchanged(codes):
    encoding = space(*codes)
    points = [
        {"act": act, "units": units, "rate": rate}
        for act in ["relu", None, "tanh"]
        for units in range(1, 6)
        for rate in encoding.choices[2].values
    ]
    bits = encoding.encode(points)
    assert bits.shape == (60, encoding.n)
    assert len(np.unique(bits, axis=0)) == 60
    decoded = encoding.decode(bits)
    assert decoded.points == points
    assert decoded.repaired == 0
    np.testing.assert_array_equal(encoding.bits(decoded.levels), bits)
    assert encoding.decode(encoding.encode(points[7])).points == [points[7]]


@pytest.mark.parametrize("codes", [(code,) * 3 for code in CODES] + [tuple(CODES)])
def test_other_bits_are_repaired_to_the_nearest_point(codes):
    encoding = space(*codes)
    every = np.array(list(itertools.product((0, 1), repeat=encoding.n)), np.uint8)
    words = encoding.bits(list(itertools.product(range(3), range(5), range(4))))
    distance = (every[:, None, :] != words[None]).sum(-1)
    repaired, changed = encoding.repair(every)
    np.testing.assert_array_equal(changed, distance.min(1))
    np.testing.assert_array_equal((repaired != every).sum(1), changed)
    assert {tuple(x) for x in repaired} == {tuple(x) for x in words}
    assert encoding.decode(every).repaired == len(every) - len(words)
    # Of equally near points the first value of each choice.
    first = [min(np.flatnonzero(row == row.min())) for row in distance]
    np.testing.assert_array_equal(repaired, words[first])


def test_grids():
    assert Choice.integer("a", 2, 5).values == (2, 3, 4, 5)
    assert Choice.integer("a", 1, 1000, 4, log=True).values == (1, 10, 100, 1000)
    assert Choice.integer("a", 1, 4, 100, log=True).values == (1, 2, 3, 4)
    assert Choice.integer("a", 0, 10, 3).values == (0, 5, 10)
    assert Choice.floating("a", 0, 1, 5).values == (0, 0.25, 0.5, 0.75, 1)
    np.testing.assert_allclose(Choice.floating("a", 1e-3, 10, 5, log=True).values, [1e-3, 1e-2, 1e-1, 1, 10])
    assert Choice.floating("a", 2.0, 2.0, 5).values == (2.0,)
    assert all(type(value) is int for value in Choice.integer("a", 1, 1000, 4, log=True).values)


def test_grids_of_the_greatest_integers():
    assert Choice.integer("a", -(2**63), 2**63 - 1, 3).values == (-(2**63), 0, 2**63 - 1)


def test_numbers_go_to_the_nearest_level():
    linear = Choice.floating("a", 0, 1, 5)
    assert [linear.level(x) for x in (0, 0.1, 0.125, 0.13, 0.9, 1, np.float32(0.5))] == [0, 0, 0, 1, 4, 4, 2]
    log = Choice.floating("a", 1e-4, 1e-1, 4, log=True)
    assert [log.level(x) for x in (1e-4, 3e-4, 3.3e-4, 0.05, 0.1)] == [0, 0, 1, 3, 3]
    assert log.level(math.exp(math.log(1e-4))) == 0  # a rounding error out of range
    assert Choice.integer("a", 1, 1000, 4, log=True).level(40) == 2


def test_options_are_met_exactly():
    choice = Choice.categorical("a", [1, 1.0, True, "1", None])
    assert [choice.level(x) for x in (1, 1.0, True, "1", None, np.int64(1))] == [0, 1, 2, 3, 4, 0]
    with pytest.raises(ProblemError, match=r"a='2': 1, 1\.0, True, '1', None are accepted"):
        choice.level("2")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Choice.categorical("a", []), "a: no values"),
        (lambda: Choice.categorical("a", [1], "gray"), "code=gray: one_hot, domain_wall, binary"),
        (lambda: Choice.floating("a", 2, 1, 3), "low=2, high=1"),
        (lambda: Choice.floating("a", 0, 1, 3, log=True), "0 < low"),
        (lambda: Choice.floating("a", 0, math.inf, 3), "finite"),
        (lambda: Choice.floating("a", 0, 1, 1), "levels=1"),
        (lambda: Choice.floating("a", 0, 1, math.nan), "levels=nan"),
        (lambda: Choice.floating("a", "0", 1, 3), "low=0, high=1; finite numbers"),
        (lambda: Choice.floating("a", -1e308, 1e308, 3), "finite numbers"),
        (lambda: space().decode(np.full(space().n, 0.5)), r"bits: 0\.5 is among them"),
        (lambda: Choice.integer("a", 0.5, 2), "integers are accepted"),
        (lambda: Encoding([Choice.ordinal("a", "xy"), Choice.ordinal("a", "z")]), "different ones"),
        (lambda: Encoding([Choice.ordinal("a", "x")]), "nothing to choose"),
        (lambda: Choice.floating("a", 0, 1, 3).level(1.1), r"a=1\.1: a number from 0\.0 to 1\.0"),
        (lambda: Choice.floating("a", 0, 1, 3).level("b"), "a='b'"),
        (lambda: Choice.floating("a", 0, 1, 3).level(math.nan), "a=nan"),
        (lambda: space().encode({"act": None, "units": 1}), "'rate' missing"),
        (lambda: space().decode(np.zeros((2, 3))), r"shape \(2, 3\)"),
    ],
)
def test_what_is_no_choice_is_refused_by_name(make, message):
    with pytest.raises(ProblemError, match=message):
        make()


@pytest.mark.parametrize("codes", [("one_hot",) * 3, ("domain_wall",) * 3, ("binary",) * 3, tuple(CODES)])
@pytest.mark.parametrize("seed", range(5))
def test_the_optimum_of_an_energy_over_the_bits_is_the_best_point(codes, seed):
    encoding = space(*codes)
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(encoding.n, encoding.n))
    words = encoding.bits(list(itertools.product(range(3), range(5), range(4)))).astype(float)
    best = (np.einsum("ki,ij,kj->k", words, matrix, words) + 0.5).min()
    qubo = encoding.qubo(matrix, 0.5)
    assert qubo.labels[: encoding.n] == encoding.labels
    bits, energy = qubo.minimum()
    assert encoding.decode(bits[: encoding.n]).repaired == 0
    assert energy == pytest.approx(best)
    # And with all constraints as penalties too.
    bits, energy = qubo.penalised().minimum()
    assert encoding.decode(bits[: encoding.n]).repaired == 0
    assert energy == pytest.approx(best)
