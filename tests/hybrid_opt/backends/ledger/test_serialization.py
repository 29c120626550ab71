"""Programs and results as bytes: what a request is, what survives the file, and what is refused."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from hybrid_opt.backends.backend import AnnealProgram, CircuitProgram, Result
from hybrid_opt.backends.ledger.serialization import (
    check_result,
    pack_circuit,
    pack_program,
    pack_result,
    request_hash,
    unpack_program,
    unpack_result,
)
from hybrid_opt.cost import Cost
from hybrid_opt.errors import CorruptResult
from hybrid_opt.problem.qubo import Qubo
from tests.hybrid_opt.backends.ledger.jobs import anneal, circuit, in_another_process


@pytest.mark.slow
def test_request_hash_is_of_what_is_asked() -> None:
    code = """
from hybrid_opt.backends.ledger.serialization import request_hash
from tests.hybrid_opt.backends.ledger.jobs import anneal, circuit
print(request_hash("b", circuit(name="z"), 1), request_hash("b", anneal(), 1))
"""
    other = in_another_process(code).communicate()[0].split()
    assert other == [request_hash("b", circuit(), 1), request_hash("b", anneal(), 1)]
    turned = replace(circuit(), parameters=np.nextafter(circuit().parameters, 1))
    programs = [circuit(), circuit(np.nextafter(0.1, 1)), turned, replace(circuit(), shots=6), anneal(), anneal(11)]
    hashes = {request_hash(*request) for request in itertools.product("bc", programs, (1, 2))}
    assert len(hashes) == 4 * len(programs)


def test_programs_and_results_survive_the_file() -> None:
    from qiskit.quantum_info import Operator, SparsePauliOp

    program = replace(circuit(), observables=(SparsePauliOp(["ZIZ", "XXI"], [0.5, -2.0]),))
    loaded = unpack_program(pack_program(program), pack_circuit(program))
    assert isinstance(loaded, CircuitProgram) and request_hash("b", loaded, 0) == request_hash("b", program, 0)
    bound = [p.circuit.assign_parameters([0.3]) for p in (program, loaded)]
    assert Operator(bound[0]).equiv(Operator(bound[1])) and loaded.observables == program.observables
    problem = AnnealProgram(
        (Qubo(np.eye(4), 2.5, one_hot=[(0, 2)]), Qubo([[1.0]]), Qubo(np.ones((3, 3)), cardinality=2)), 7, {"time": 20}
    )
    again = unpack_program(pack_program(problem), b"")
    assert isinstance(again, AnnealProgram) and (again.reads, again.options) == (7, {"time": 20})
    for a, b in zip(again.qubos, problem.qubos, strict=True):
        assert np.array_equal(a.matrix, b.matrix) and (a.offset, a.one_hot, a.cardinality) == (
            b.offset, b.one_hot, b.cardinality,
        )  # fmt: skip
    rng = np.random.default_rng(0)
    result = Result(
        tuple(rng.integers(0, 2, shape).astype(np.uint8) for shape in ((5, 3), (4, 9), (1, 1))),
        (rng.random(8), rng.random(4)), rng.random((2, 3)), rng.random((2, 3)), Cost(7, 1, qpu_seconds=0.1), {"x": [1]},
    )  # fmt: skip
    copy = unpack_result(pack_result(result))
    assert copy.cost == result.cost and copy.about == result.about
    for name in ("samples", "probabilities", "means", "errors"):
        pairs = zip(getattr(copy, name), getattr(result, name), strict=True)
        assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)
    with pytest.raises(CorruptResult):
        unpack_result(pack_result(result)[:-9])


def test_results_are_checked_against_their_program() -> None:
    shots, exact = circuit(), replace(circuit(), shots=None)
    good, law = np.zeros((5, 3), np.uint8), np.full(8, 1 / 8)
    check_result(shots, Result((good,)))
    check_result(exact, Result(probabilities=(law,)))
    bad: list[tuple[CircuitProgram, Result]] = [
        (shots, Result()),
        (shots, Result((good[:-1],))),
        (shots, Result((good + 2,))),
        (shots, Result((good, good))),
        (exact, Result(probabilities=(law / 2,))),
        (exact, Result(probabilities=(law * np.nan,))),
        (replace(exact, observables=(None,)), Result(means=np.full((1, 1), np.nan))),
        (replace(exact, observables=(None,)), Result(means=np.zeros((1, 2)))),
    ]
    for program, result in bad:
        with pytest.raises(CorruptResult):
            check_result(program, result)
