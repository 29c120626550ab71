"""Constraints of a Qubo as penalties with weights that keep its optimum, and the repair of bits that break them."""

from collections.abc import Mapping, Sequence
from math import inf
from numbers import Real
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.clipping import FORBIDDING
from hybrid_opt.problem.quadratic import Bits, Floats, Quadratic
from hybrid_opt.reals import real, reals

Q = TypeVar("Q", bound=Quadratic)
Weight = float | Literal["auto"]
SUMS = 1 << 22  # sizes of a constraint's coefficients in all: their squares do not round away energies


def penalised(qubo: Q, weight: Weight = "auto") -> Q:
    """The Qubo without constraints: W (sum_G x - k)^2 is added for each group G of k ones. See Qubo.penalised.

    The automatic weight of a group exceeds what one flip towards k ones can add to the energy, for the best flip at
    hand in the worst case. So from any infeasible state, flips to feasible ones gain more penalty than they cost.
    Where entries that forbid make this weight large, it exceeds what the optimum can lie above the lowest energy.
    """
    _check(weight)
    enough = _sufficient(qubo) if weight == "auto" and _forbids(qubo) else inf
    raised = qubo.linear + np.maximum(qubo.couplings, 0.0).sum(1)  # the most that setting bit i can add
    lowered = -qubo.linear - np.minimum(qubo.couplings, 0.0).sum(1)  # the most that clearing it can add
    matrix, offset = qubo.matrix.copy(), qubo.offset
    for group, ones in qubo.groups:
        members = list(group)
        if weight == "auto":
            # At least len - ones + 1 zeros are at hand below `ones`, and ones + 1 ones above: the best of them counts.
            adding = np.sort(raised[members])[ones - 1] if ones else -inf
            removing = np.sort(lowered[members])[len(group) - ones - 1] if ones < len(group) else -inf
            strength = _moderate(max(float(adding), float(removing), 0.0) + _margin(qubo), enough)
        else:
            strength = float(weight)
        matrix[np.ix_(members, members)] += strength
        matrix[members, members] -= 2 * ones * strength
        offset += strength * ones**2
    return _like(qubo, matrix, offset, one_hot=(), cardinality=None)


def with_constraint(
    qubo: Q,
    coefficients: Mapping[Any, float] | Sequence[float] | NDArray[Any],
    value: float | None = None,
    *,
    bounds: tuple[float | None, float | None] | None = None,
    weight: Weight = "auto",
) -> Q:
    """The Qubo with W (a'x - value)^2 added, or W (a'x - low - slack)^2. See Qubo.with_constraint.

    The automatic weight exceeds the range of the energies; a violation of integers is at least 1.
    """
    _check(weight)
    a = _coefficients(qubo, coefficients)
    if (value is None) == (bounds is None):
        raise ProblemError("constraint: either a value or bounds=(low, high) is accepted")
    low, high = _ends(value, bounds)
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
    if weight == "auto":
        _keeps(qubo, strength)
    row = np.concatenate([a, -np.array(slack, np.float64)])
    matrix = np.zeros((len(row), len(row)))
    matrix[: qubo.n, : qubo.n] = qubo.matrix
    matrix += strength * np.outer(row, row) - np.diag(2 * strength * low * row)
    first = sum(isinstance(label, tuple) and label[:1] == ("slack",) for label in qubo.labels)
    labels = (*qubo.labels, *(("slack", first + place) for place in range(len(slack))))
    return _like(qubo, matrix, qubo.offset + strength * low**2, labels=labels)


def repair(qubo: Quadratic, bits: ArrayLike) -> tuple[Bits, NDArray[np.int64]]:
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


def shuffled(qubo: Q, rng: np.random.Generator) -> Q:
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


def _like(qubo: Q, matrix: Floats, offset: float, **changes: Any) -> Q:
    """The Qubo with another matrix; penalties do not count in the range of its objective."""
    rest = {"one_hot": qubo.one_hot, "cardinality": qubo.cardinality, "labels": qubo.labels, **changes}
    made = type(qubo)(matrix, offset, **rest)
    made.__dict__["objective_range"] = qubo.objective_range
    return made


def _margin(qubo: Quadratic) -> float:
    """A hundredth of the largest coefficient."""
    return 0.01 * float(max(np.abs(qubo.linear).max(), np.abs(qubo.couplings).max())) or 1.0


def _forbids(qubo: Quadratic) -> bool:
    """Whether some coefficient may forbid states: it is that much larger than the least that is not zero."""
    return bool(max(np.abs(qubo.linear).max(), np.abs(qubo.couplings).max()) > FORBIDDING * _least(qubo))


def _least(qubo: Quadratic) -> float:
    """The size of the least coefficient that is not zero."""
    sizes = np.abs(np.concatenate([qubo.linear, qubo.couplings.ravel()]))
    return float(sizes.min(where=sizes > 0, initial=inf))


def _sufficient(qubo: Quadratic) -> float:
    """A weight that no infeasible state can make up for: more than a feasible state lies above the lowest energy.

    The feasible state is the one that sets, group by group, the variable that adds least, improved by exchanges within
    groups as long as they lower its energy, n times at most: what rounding leaves of huge entries may go round.
    """
    x = np.zeros(qubo.n)
    for group, ones in qubo.groups:
        for _ in range(ones):
            added = qubo.linear + qubo.couplings @ x
            x[min((i for i in group if not x[i]), key=added.__getitem__)] = 1.0
    for _ in range(qubo.n):
        improved = False
        for group, _ in qubo.groups:
            for i in [i for i in group if x[i]]:
                x[i] = 0.0  # what each variable of the group would add in its place
                added = qubo.linear + qubo.couplings @ x
                best = min((j for j in group if not x[j]), key=added.__getitem__)
                improved |= bool(added[best] < added[i])
                x[best if added[best] < added[i] else i] = 1.0
        if not improved:
            break
    lowest = qubo.objective_range[0] - qubo.offset
    return 1.01 * float(qubo.form(x) - lowest) + _least(qubo)


def _moderate(strength: float, enough: float) -> float:
    """A weight; the sufficient one where it is so large that it would round away other coefficients."""
    return enough if strength > FORBIDDING * enough else strength


def _keeps(qubo: Quadratic, strength: float) -> None:
    """Raise ProblemError where a weight would round away all coefficients but those that forbid."""
    sizes = np.abs(np.concatenate([qubo.linear, qubo.couplings.ravel()]))
    others = sizes[(sizes > 0) & (sizes < strength / FORBIDDING)]
    if others.size and others.max() < strength / FORBIDDING**2:
        raise ProblemError(
            f"constraint: its automatic weight {strength:g} would round away coefficients such as {others.max():g}; "
            "weight=NUMBER is accepted"
        )


def _check(weight: Any) -> None:
    if weight != "auto" and not (isinstance(weight, Real) and 0.0 < real(weight, "weight") < inf):
        raise ProblemError(f"weight={weight}: auto or a positive number is accepted")


def _ends(value: Any, bounds: Any) -> tuple[float | None, float | None]:
    """Lower and upper end of a constraint, None where it is open; no NaN."""
    ends: list[float | None]
    if bounds is None:
        ends = [real(value, "constraint: value")] * 2
    else:
        try:
            low, high = bounds
        except (TypeError, ValueError):
            raise ProblemError(f"constraint: bounds={bounds}; (low, high) is accepted, either may be None") from None
        ends = [None if end is None else real(end, "constraint: bounds") for end in (low, high)]
    if any(end != end for end in ends):
        given = f"value={value}" if bounds is None else f"bounds={bounds}"
        raise ProblemError(f"constraint: {given}: NaN; numbers are accepted")
    return ends[0], ends[1]


def _coefficients(qubo: Quadratic, coefficients: Any) -> Floats:
    """As an array [n] of integers."""
    if isinstance(coefficients, Mapping):
        unknown = set(coefficients) - set(qubo.labels)
        if unknown:
            raise ProblemError(f"constraint: no variable is labelled {', '.join(map(repr, unknown))}")
        coefficients = [coefficients.get(label, 0) for label in qubo.labels]
    a = reals(coefficients, "constraint: coefficients")
    if a.shape != (qubo.n,) or not np.isfinite(a).all() or (a != np.round(a)).any():
        raise ProblemError(f"constraint: {qubo.n} integer coefficients are accepted, one a variable")
    if (span := np.abs(a).sum()) > SUMS:
        raise ProblemError(
            f"constraint: coefficients whose sizes sum to {span:g}; up to {SUMS} are accepted, since their squares "
            "round away energies"
        )
    return a


def _reaches(a: Floats, low: int, high: int) -> bool:
    """Whether a'x takes a value from low to high for any bits."""
    weights = [int(each) for each in a if each]
    least = sum(min(each, 0) for each in weights)
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
