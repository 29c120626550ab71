"""Constraints of a Qubo as penalties with weights that keep its optimum, and the repair of bits that break them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import gcd, inf, isfinite
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_opt.errors import ProblemError

if TYPE_CHECKING:
    from hybrid_opt.qubo import Qubo

Floats = NDArray[np.float64]
Bits = NDArray[np.integer[Any]]
Weight = float | Literal["auto"]
SUMS = 1 << 20  # sums of coefficients that are all looked at
FORBIDS = 2.0**30  # times what states differ by: a coefficient that leaves doubles few digits for the others
DESCENTS = 32  # in search of a state without such coefficients


def penalised(qubo: "Qubo", weight: Weight = "auto") -> "Qubo":
    """The Qubo without constraints: W (sum_G x - k)^2 is added for each group G of k ones. See Qubo.penalised.

    The automatic weight of a group exceeds what one flip towards k ones can add to the energy, for the best flip at
    hand in the worst case. So from any infeasible state, flips to feasible ones gain more penalty than they cost.
    Entries that forbid are lowered before, as far as the optimum allows: see `_competing`.
    """
    _check(weight)
    bounded = _competing(qubo) if weight == "auto" else qubo
    raised = bounded.linear + np.maximum(bounded.couplings, 0.0).sum(1)  # the most that setting bit i can add
    lowered = -bounded.linear - np.minimum(bounded.couplings, 0.0).sum(1)  # the most that clearing it can add
    matrix, offset = qubo.matrix.copy(), qubo.offset
    for group, ones in qubo.groups:
        members = list(group)
        if weight == "auto":
            # At least len - ones + 1 zeros are at hand below `ones`, and ones + 1 ones above: the best of them counts.
            adding = np.sort(raised[members])[ones - 1] if ones else -inf
            removing = np.sort(lowered[members])[len(group) - ones - 1] if ones < len(group) else -inf
            strength = max(float(adding), float(removing), 0.0) + _margin(bounded)
        else:
            strength = float(weight)
        matrix[np.ix_(members, members)] += strength
        matrix[members, members] -= 2 * ones * strength
        offset += strength * ones**2
    return _like(qubo, matrix, offset, one_hot=(), cardinality=None)


def with_constraint(
    qubo: "Qubo",
    coefficients: Mapping[Any, float] | Sequence[float] | NDArray[Any],
    value: float | None = None,
    *,
    bounds: tuple[float | None, float | None] | None = None,
    weight: Weight = "auto",
) -> "Qubo":
    """The Qubo with W (a'x - value)^2 added, or W (a'x - low - slack)^2. See Qubo.with_constraint.

    The automatic weight exceeds the range of the energies; a violation of integers is at least 1.
    """
    _check(weight)
    a = _coefficients(qubo, coefficients)
    if (value is None) == (bounds is None):
        raise ProblemError("constraint: either a value or bounds=(low, high) is accepted")
    low, high = (value, value) if bounds is None else bounds
    least, most = float(np.minimum(a, 0).sum()), float(np.maximum(a, 0).sum())
    low = least if low is None else max(least, float(np.ceil(low)))
    high = most if high is None else min(most, float(np.floor(high)))
    if not low <= high or (value is not None and value != low):
        asked = f"value={value}" if bounds is None else f"bounds={bounds}"
        raise ProblemError(f"constraint: {asked} can never hold; a'x takes integers from {least:g} to {most:g}")
    if not _reaches(a, int(low), int(high)):
        asked = f"value={value}" if bounds is None else f"bounds={bounds}"
        raise ProblemError(f"constraint: {asked} can never hold; no bits give a'x such a value")
    if (low, high) == (least, most):
        return qubo
    slack = _slack(int(high - low))
    if slack and qubo.cardinality is not None:
        raise ProblemError("constraint: its slack bits would count in the cardinality; apply penalised() first")
    bottom, top = qubo.objective_range
    strength = top - bottom + _margin(qubo) if weight == "auto" else float(weight)
    row = np.concatenate([a, -np.array(slack, np.float64)])
    matrix = np.zeros((len(row), len(row)))
    matrix[: qubo.n, : qubo.n] = qubo.matrix
    matrix += strength * np.outer(row, row) - np.diag(2 * strength * low * row)
    first = sum(isinstance(label, tuple) and label[:1] == ("slack",) for label in qubo.labels)
    labels = (*qubo.labels, *(("slack", first + place) for place in range(len(slack))))
    return _like(qubo, matrix, qubo.offset + strength * low**2, labels=labels)


def with_domain_walls(qubo: "Qubo", chains: Sequence[Sequence[int]], weight: Weight = "auto") -> "Qubo":
    """The Qubo with W for every 0 that is followed by a 1 along a chain, so that chains of the optimum are 1..10..0.

    chains: disjoint sequences of indices. The automatic weight of a chain exceeds what flipping all of it can add.
    Source: Chancellor 2019, arXiv 1903.05068.
    """
    _check(weight)
    raised = qubo.linear + np.maximum(qubo.couplings, 0.0).sum(1)
    lowered = -qubo.linear - np.minimum(qubo.couplings, 0.0).sum(1)
    matrix = qubo.matrix.copy()
    for chain in chains:
        flips = np.maximum(np.maximum(raised, lowered), 0.0)[list(chain)]
        strength = float(flips.sum()) + _margin(qubo) if weight == "auto" else float(weight)
        for before, after in pairwise(chain):
            matrix[after, after] += strength
            matrix[before, after] -= strength
    return _like(qubo, matrix, qubo.offset)


def repair(qubo: "Qubo", bits: ArrayLike) -> tuple[Bits, NDArray[np.int64]]:
    """The nearest feasible bits, and how many were changed. See Qubo.repair."""
    repaired = np.array(bits, np.int8)
    changed = np.zeros(repaired.shape[:-1], np.int64)
    for group, ones in qubo.groups:
        members = sorted(group)
        x = repaired[..., members].astype(np.int64)
        missing = np.maximum(ones - x.sum(-1, keepdims=True), 0)
        kept = (x == 1) & (x.cumsum(-1) <= ones)
        added = (x == 0) & ((1 - x).cumsum(-1) <= missing)
        repaired[..., members] = kept | added
        changed += (repaired[..., members] != x).sum(-1)
    return repaired, changed


def shuffled(qubo: "Qubo", rng: np.random.Generator) -> "Qubo":
    """The Qubo with its coefficients in random places. See Qubo.shuffled."""
    block = -1 - np.arange(qubo.n)  # variables of the same one-hot block share a number, the others have their own
    for number, members in enumerate(qubo.one_hot):
        block[list(members)] = number
    rows, columns = np.triu_indices(qubo.n, 1)
    inside = block[rows] == block[columns]
    values = qubo.couplings[rows, columns]
    for among in (inside, ~inside):
        values[among] = rng.permutation(values[among])
    matrix = np.diag(rng.permutation(qubo.linear))
    matrix[rows, columns] = values
    return type(qubo)(matrix, qubo.offset, one_hot=qubo.one_hot, cardinality=qubo.cardinality, labels=qubo.labels)


def _like(qubo: "Qubo", matrix: Floats, offset: float, **changes: Any) -> "Qubo":
    """The Qubo with another matrix; penalties do not count in the range of its objective."""
    rest = {"one_hot": qubo.one_hot, "cardinality": qubo.cardinality, "labels": qubo.labels, **changes}
    made = type(qubo)(matrix, offset, **rest)
    made.__dict__["objective_range"] = qubo.objective_range
    return made


def _competing(qubo: "Qubo") -> "Qubo":
    """A problem with the same optima, whose positive coefficients are not much larger than what states differ by.

    A coefficient that forbids, such as 1e17 among ones, would give penalties beside which the others lose their digits.
    No state with a coefficient above (the energy of a feasible state - all negative ones) is better than that state, so
    such a coefficient can be lowered to anything above. Where none is that large, this is the problem itself.
    """
    values = np.concatenate([qubo.linear, qubo.couplings[np.triu_indices(qubo.n, 1)]])
    sizes = np.abs(values[values != 0])
    if not len(sizes) or sizes.max() <= FORBIDS * sizes.min():
        return qubo
    from hybrid_opt.solvers.descent import descend  # which knows Qubos

    rng = np.random.default_rng(0)
    states, _ = descend(qubo, qubo.feasible_space().draw(DESCENTS, rng), rng)
    most = float(qubo.form(states).min() - np.minimum(values, 0.0).sum())
    if sizes.max() <= FORBIDS * max(most, sizes.min()):
        return qubo
    highest = 2 * most + float(sizes.min())
    lowered = np.triu(np.minimum(qubo.couplings, highest), 1) + np.diag(np.minimum(qubo.linear, highest))
    return _like(qubo, lowered, qubo.offset)


def _margin(qubo: "Qubo") -> float:
    """A hundredth of the largest coefficient."""
    return 0.01 * float(max(np.abs(qubo.linear).max(), np.abs(qubo.couplings).max())) or 1.0


def _check(weight: Any) -> None:
    if weight != "auto" and (
        isinstance(weight, str) or not isinstance(weight, Real) or not isfinite(weight) or not float(weight) > 0
    ):
        raise ProblemError(f"weight={weight}: auto or a positive number is accepted")


def _coefficients(qubo: "Qubo", coefficients: Any) -> Floats:
    """As an array [n] of integers."""
    if isinstance(coefficients, Mapping):
        unknown = set(coefficients) - set(qubo.labels)
        if unknown:
            raise ProblemError(f"constraint: no variable is labelled {', '.join(map(repr, unknown))}")
        coefficients = [coefficients.get(label, 0) for label in qubo.labels]
    a = np.asarray(coefficients, np.float64)
    if a.shape != (qubo.n,) or not np.isfinite(a).all() or (a != np.round(a)).any():
        raise ProblemError(f"constraint: {qubo.n} integer coefficients are accepted, one a variable")
    return a


def _reaches(a: Floats, low: int, high: int) -> bool:
    """Whether a'x takes a value from low to high for any bits: by all sums where they are few, else by divisibility."""
    weights = [int(each) for each in a if each]
    least, span = sum(min(each, 0) for each in weights), sum(abs(each) for each in weights)
    if span > SUMS:
        divisor = gcd(*weights)
        return high // divisor * divisor >= low
    sums = 1  # bit s: the sum least + s can be had
    for each in weights:
        sums |= sums << abs(each)
    return bool(sums >> (low - least) & ((1 << (high - low + 1)) - 1))


def _slack(width: int) -> list[int]:
    """Coefficients of slack bits whose sums are exactly 0..width."""
    slack: list[int] = []
    while width > sum(slack):
        slack.append(min(2 ** len(slack), width - sum(slack)))
    return slack
