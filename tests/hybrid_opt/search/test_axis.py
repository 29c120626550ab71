"""Parameters of a search: values to positions and back, levels, and which options have an order."""

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hybrid_opt.search.axis import Axis


@pytest.mark.parametrize(
    "distribution",
    [
        CategoricalDistribution(("a", "b", None, True)),
        CategoricalDistribution((64, 16, 256)),
        IntDistribution(1, 100, log=True),
        IntDistribution(3, 18, step=5),
        FloatDistribution(0.1, 0.7, step=0.2),
        FloatDistribution(1e-4, 10.0, log=True),
        FloatDistribution(-2.0, 3.0),
    ],
)
def test_axes_map_values_to_positions_and_back(distribution):
    axis, rng = Axis("p", distribution), np.random.default_rng(0)
    for incumbent in (None, 0.4):
        if not axis.ordered and incumbent is not None:
            continue
        levels = axis.levels(10, incumbent, 50, rng)
        assert (np.diff(levels) > 0).all()
        assert len(levels) <= axis.bits(10)
        for at in levels.tolist():
            value = axis.value(at)
            assert distribution._contains(distribution.to_internal_repr(value))
            assert axis.position(value) == pytest.approx(at, abs=1e-12)
            if axis.ordered:
                assert 0 <= at <= 1
    for number in range(20):
        assert distribution._contains(distribution.to_internal_repr(axis.stratum(number, 20, rng.random())))


def test_numbers_among_the_options_are_ordered():
    axis = Axis("width", CategoricalDistribution((64, 16, 256)))
    assert [axis.position(v) for v in (16, 64, 256)] == [0.0, 0.5, 1.0]
    assert not Axis("flag", CategoricalDistribution((True, False, 3))).ordered
    assert not Axis("op", CategoricalDistribution(("x", "y", "z"))).ordered
