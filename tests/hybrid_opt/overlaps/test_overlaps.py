"""Kernels against Qiskit's states, closed forms and the laws of sampling."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit.quantum_info import Statevector, partial_trace
from sklearn.kernel_approximation import Nystroem
from sklearn.svm import SVC, OneClassSVM

from hybrid_opt.backends import open_backend
from hybrid_opt.circuits.encodings.registry import ENCODINGS
from hybrid_opt.errors import ProblemError
from hybrid_opt.overlaps import OVERLAPS, make_overlap
from hybrid_opt.overlaps.concentration import concentration
from hybrid_opt.overlaps.encoded import Encoded

WIDTHS = {"angle": 3, "angle_xyz": 3, "iqp": 3, "dense": 4, "amplitude": 4, "basis": 3}


def rows(encoding: str, count: int, seed: int = 0) -> Any:
    random, shape = np.random.default_rng(seed), (count, WIDTHS[encoding])
    return random.integers(0, 2, shape).astype(float) if encoding == "basis" else random.normal(size=shape)


def test_the_kernels_are_these() -> None:
    assert set(OVERLAPS) == {"fidelity", "projected", "rbf", "laplace"}
    assert repr(make_overlap("rbf", bandwidth=2)) == "Rbf(bandwidth=2.0)"


@given(st.sampled_from(sorted(set(WIDTHS) & set(ENCODINGS))), st.integers(0, 99))
def test_kernels_of_states_are_those_of_qiskit(encoding: str, seed: int) -> None:
    """To 1e-9: fidelities, and exp(-sum |rho - rho'|^2) of the qubits' states."""
    bandwidth = 1.0 if encoding == "basis" else 0.7
    x, y = rows(encoding, 3, seed), rows(encoding, 2, seed + 1)
    encoded = Encoded.of(encoding, x.shape[1])
    circuit = encoded.circuit

    def states(given: Any) -> list[Statevector]:
        return [Statevector(circuit.assign_parameters(angles)) for angles in encoded.angles(given * bandwidth)]

    for first, second in ((x, y), (x, None)):
        a, b = states(first), states(first if second is None else second)
        fidelities = [[abs(np.vdot(s.data, t.data)) ** 2 for t in b] for s in a]
        found = make_overlap("fidelity", encoding=encoding, bandwidth=bandwidth)(first, second)
        assert found == pytest.approx(np.array(fidelities), abs=1e-9)

        def alone(state: Statevector) -> list[Any]:
            others = set(range(encoded.qubits))
            return [partial_trace(state, sorted(others - {q})).data for q in range(encoded.qubits)]

        apart = [
            [sum(np.linalg.norm(r - s) ** 2 for r, s in zip(alone(p), alone(q), strict=True)) for q in b] for p in a
        ]
        found = make_overlap("projected", encoding=encoding, bandwidth=bandwidth, gamma=0.5)(first, second)
        assert found == pytest.approx(np.exp(-0.5 * np.array(apart)), abs=1e-9)


@pytest.mark.slow  # the backend takes its time to be imported
@pytest.mark.parametrize("name", ["fidelity", "projected"])
@pytest.mark.parametrize("encoding", ["angle", "iqp"])
def test_a_backend_gives_the_same_and_shots_their_law(name: str, encoding: str) -> None:
    x, y, shots = rows(encoding, 5), rows(encoding, 3, 1), 20_000
    exact = make_overlap(name, encoding=encoding)
    assert make_overlap(name, encoding=encoding, backend="aer")(x, y) == pytest.approx(exact(x, y), abs=1e-9)
    for second in (y, None):
        drawn = make_overlap(name, encoding=encoding, shots=shots, backend="aer")(x, second)
        sigma = 0.5 / math.sqrt(shots) if name == "fidelity" else 4 / math.sqrt(shots)  # of a sum of nine means
        assert np.abs(drawn - exact(x, second)).max() < 5 * sigma
    assert (np.diag(drawn) == 1).all() and (drawn == drawn.T).all()
    again = make_overlap(name, encoding=encoding, shots=shots, backend="aer")(x)
    assert (again == drawn).all()  # of the same seed


def test_an_open_backend_gets_one_job_and_stays_open() -> None:
    jobs = []
    with_limits = open_backend("statevector")
    submit = with_limits.submit

    def counted(programs: Any, key: str, seed: int = 0) -> Any:
        jobs.append(len(programs))
        return submit(programs, key, seed)

    with_limits.submit = counted  # type: ignore[method-assign]
    overlap = make_overlap("fidelity", shots=10, backend=with_limits)
    overlap(rows("angle", 4))
    overlap(rows("angle", 4))
    assert jobs == [1, 1]


@pytest.mark.parametrize("name", sorted(OVERLAPS))
def test_laws_of_all_kernels(name: str) -> None:
    """Symmetric, 1 on the diagonal, no negative eigenvalue; scikit-learn takes them."""
    x = rows("angle", 24)
    overlap = make_overlap(name, bandwidth=0.8)
    gram = overlap(x)
    assert (gram == gram.T).all() and np.diag(gram) == pytest.approx(np.ones(24), abs=1e-12)
    assert np.linalg.eigvalsh(gram).min() > -1e-10
    assert overlap(x[0], x[1]) == pytest.approx(gram[0, 1], abs=1e-12)
    assert overlap(x, x[:2]) == pytest.approx(gram[:, :2], abs=1e-9)
    labels = (x[:, 0] > 0).astype(int)
    assert SVC(kernel=overlap).fit(x, labels).score(x, labels) > 0.9
    assert OneClassSVM(kernel=overlap).fit(x).predict(x).shape == (24,)
    features = Nystroem(kernel=overlap, n_components=8).fit_transform(x[:8])
    assert features @ features.T == pytest.approx(gram[:8, :8], abs=1e-6)  # all rows as landmarks


def test_narrow_inputs_make_the_angle_kernel_gaussian() -> None:
    x = rows("angle", 10)
    fidelity, rbf = (make_overlap(name, bandwidth=0.02)(x) for name in ("fidelity", "rbf"))
    assert np.abs(fidelity - rbf).max() < 1e-5 < (1 - rbf).max()


@pytest.mark.parametrize("qubits", [2, 5])
def test_concentration_of_the_product_kernel(qubits: int) -> None:
    """Of uniform inputs, prod cos^2(x / 2) has mean 2^-n and variance (3/8)^n - 4^-n (arXiv 2208.11060)."""
    x = np.random.default_rng(0).uniform(-np.pi, np.pi, (1500, qubits))
    found = concentration(make_overlap("fidelity")(x))
    assert found.mean == pytest.approx(2**-qubits, rel=0.03)
    assert found.std == pytest.approx(math.sqrt((3 / 8) ** qubits - 4**-qubits), rel=0.03)


def test_diagnostics_of_known_matrices() -> None:
    alike, apart, half = np.ones((4, 4)), np.eye(4), (np.eye(4) + 1) / 2
    assert concentration(alike)[:3] == pytest.approx((1, 0, 1)) and concentration(alike).shots == 0
    assert concentration(apart).rank == pytest.approx(4) and concentration(apart).shots == math.inf
    assert concentration(half).shots == pytest.approx(100)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: make_overlap("fidelty"), "overlap=fidelty: no such overlap; did you mean fidelity?"),
        (lambda: make_overlap("rbf", width=1), "overlap.width: no such option of rbf"),
        (lambda: make_overlap("rbf", bandwidth=0), "overlap.bandwidth=0: input should be greater than 0"),
        (lambda: make_overlap("fidelity", encoding="nope")(np.ones((2, 3))), "overlap.encoding=nope: no such encoding"),
        (
            lambda: make_overlap("fidelity", encoding="dense")(np.ones((2, 3))),
            "x: rows of 3; encoding=dense takes 2, 4",
        ),
        (lambda: make_overlap("rbf")(np.ones((2, 3)), np.ones((2, 2))), "y: rows of 2; rows of 3"),
        (lambda: make_overlap("rbf")([[np.nan]]), "x: shape [1, 1]; finite rows"),
        (lambda: make_overlap("fidelity", backend="dwave:mock")(np.ones((2, 3))), "overlap.backend="),
        (lambda: concentration(np.ones((2, 3))), "gram: shape [2, 3]; a symmetric matrix"),
    ],
)
def test_wrong_input_is_one_line(make: Any, line: str) -> None:
    with pytest.raises(ProblemError) as error:
        make()
    assert line in str(error.value) and "\n" not in str(error.value)
