"""Solvers as dimod samplers: dimod's own checks, labels, types of variables and constraints."""

import dimod
import dimod.testing
import numpy as np
import pytest

from hybrid_opt import ProblemError, make_solver
from hybrid_opt.solvers.dimod import Sampler

OPTIONS = {
    "exact": {"samples": 3},
    "random": {"shots": 50},
    "greedy": {"restarts": 5},
    "annealing": {"reads": 5},
    "path_integral": {"reads": 5},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_it_is_a_sampler_by_the_rules_of_dimod(name):
    sampler = Sampler(make_solver(name, **OPTIONS[name]))
    dimod.testing.assert_sampler_api(sampler)
    for vartype in ("SPIN", "BINARY"):
        bqm = dimod.BinaryQuadraticModel({"b": 1.0, "a": -2.0, 7: 0.5}, {"ab": -1.5, ("a", 7): 1.0}, 0.25, vartype)
        sampleset = sampler.sample(bqm, seed=3)
        dimod.testing.assert_response_energies(sampleset, bqm)
        assert list(sampleset.variables) == list(bqm.variables)
        assert sampleset.vartype is bqm.vartype
        assert len(sampleset) == next(iter(OPTIONS[name].values()))  # raw, one row a sample
        assert (sampleset.record.num_occurrences == 1).all()
        assert sampleset.info["solver"] == name
        assert sampleset.info["cost"]["sampling"]["evaluations"] > 0
        np.testing.assert_array_equal(sampler.sample(bqm, seed=3).record, sampleset.record)


@pytest.mark.parametrize("name", ["exact", "greedy", "annealing", "path_integral"])
@pytest.mark.parametrize("seed", range(3))
def test_the_minimum_is_that_of_dimod(name, seed):
    bqm = dimod.generators.gnm_random_bqm(8, 20, "SPIN", random_state=seed)
    bqm.offset = 1.5
    bqm.relabel_variables({i: f"v{i}" for i in range(8)})
    best = dimod.ExactSolver().sample(bqm).first
    found = Sampler(make_solver(name)).sample(bqm, seed=seed).first
    assert found.energy == pytest.approx(best.energy)


def test_ising_and_qubo_entrances():
    sampler = Sampler(make_solver("exact"))
    assert sampler.sample_ising({"a": 1.0, "b": 0.0}, {("a", "b"): 2.0}).first.sample == {"a": -1, "b": 1}
    assert sampler.sample_qubo({("a", "a"): -1.0, ("a", "b"): 2.0}).first.sample == {"a": 1, "b": 0}
    assert len(sampler.sample(dimod.BinaryQuadraticModel("BINARY"))) == 0


def test_constraints_by_label():
    bqm = dimod.BinaryQuadraticModel({x: -float(i) for i, x in enumerate("abcde")}, {}, "BINARY")
    sampler = Sampler(make_solver("exact"))
    assert sampler.sample(bqm, one_hot=["abc"]).first.sample == {"a": 0, "b": 0, "c": 1, "d": 1, "e": 1}
    found = sampler.sample(bqm, one_hot=["abc"], cardinality=2).first
    assert found.sample == {"a": 0, "b": 0, "c": 1, "d": 0, "e": 1}
    assert found.is_feasible
    with pytest.raises(ProblemError, match="labelled 'x'"):
        sampler.sample(bqm, one_hot=["ax"])
    with pytest.raises(ProblemError, match="one_hot=5: tuples of labels"):
        sampler.sample(bqm, one_hot=5)
    with pytest.raises(ProblemError, match="bqm: a dict"):
        sampler.sample({})
    raw = Sampler(make_solver("annealing", penalty=0.01, constraints="penalties", reads=20)).sample(bqm, cardinality=1)
    feasible = raw.record.sample.sum(1) == 1
    np.testing.assert_array_equal(raw.record.is_feasible, feasible)
    assert not feasible.any()


def test_unknown_arguments_are_named():
    sampler = Sampler(make_solver("exact"))
    bqm = dimod.BinaryQuadraticModel({"a": 1.0}, {}, "BINARY")
    with pytest.warns(dimod.exceptions.SamplerUnknownArgWarning, match="num_reads"):
        answer = sampler.sample(bqm, num_reads=3)
    assert answer.first.sample == {"a": 0}
