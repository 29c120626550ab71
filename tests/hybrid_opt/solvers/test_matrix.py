"""Every solver on every kind of backend: it runs and its seed fixes the result, or it is refused by name."""

from typing import Any

import numpy as np
import pytest

from hybrid_opt import ProblemError, Qubo, make_solver

HERE = ("exact", "random", "greedy")
ANNEALS = ("annealing", "path_integral")
CIRCUITS: dict[str, dict[str, Any]] = {"qaoa": {}, "grover": {}, "vqe": {"steps": 3}}
SOLVERS = (*HERE, *ANNEALS, *CIRCUITS)
RUNS = {
    "statevector": SOLVERS,
    "lightning": tuple(CIRCUITS),
    "aer": tuple(CIRCUITS),
    "pennylane:default.qubit": tuple(CIRCUITS),
    "ibm:fake_guadalupe": tuple(CIRCUITS),
    "dwave:mock": ANNEALS,
}
QUBO = Qubo([[1.0, -4.0], [0.5, 1.5]], offset=0.25)  # its minimum is at (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("backend", RUNS)
@pytest.mark.parametrize("name", SOLVERS)
def test_it_runs_the_same_twice_or_is_refused(name: str, backend: str) -> None:
    if name not in RUNS[backend]:
        with pytest.raises(ProblemError, match=f"{backend}.*{name}"):
            make_solver(name, backend=backend)
        return
    solver = make_solver(name, backend=backend, **CIRCUITS.get(name, {}))
    first, second = (solver.solve(QUBO, seed=5) for _ in range(2))
    solver.close()
    assert first.bits.tolist() == [1, 1]
    assert first.energy == pytest.approx(-0.75)
    np.testing.assert_array_equal(first.samples, second.samples)
