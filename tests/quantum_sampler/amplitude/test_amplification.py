from typing import Any

import numpy as np
import pytest

from quantum_sampler.amplitude.amplification import Search, marked_probability
from quantum_sampler.codes.projection import hamming
from quantum_sampler.selector import Floats, Mask
from tests.oracles.recall_circuit import recall_circuit


def amplified(probabilities: Floats, marked: Mask, iterations: int) -> Floats:
    """Law [N] of what is measured after some iterations from amplitudes sqrt(probabilities) [N], which sum to 1."""
    part = float(probabilities[marked].sum())
    after = float(marked_probability(min(part, 1.0), iterations))
    inside = after / part if part > 0.0 else 0.0
    outside = (1.0 - after) / (1.0 - part) if part < 1.0 else 0.0
    return np.where(marked, inside, outside) * probabilities


def problem(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(size)), rng.random(size) < 0.3


def dense(probabilities: np.ndarray, marked: np.ndarray, iterations: int) -> np.ndarray:
    """The state vector, one reflection after the other."""
    start = np.sqrt(probabilities)
    state = start.copy()
    for _ in range(iterations):
        state[marked] *= -1
        state = 2 * start * (start @ state) - state
    return state**2


@pytest.mark.parametrize("iterations", [0, 1, 2, 5, 17])
@pytest.mark.parametrize("size", [1, 2, 13, 200])
def test_law_is_that_of_the_state_vector(size: int, iterations: int) -> None:
    probabilities, marked = problem(size, seed=size)
    for part in (marked, ~marked, np.zeros(size, bool), np.ones(size, bool)):
        law = amplified(probabilities, part, iterations)
        np.testing.assert_allclose(law, dense(probabilities, part, iterations), atol=1e-12)
        assert law.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("size", "bits", "radius", "query"), [(8, 4, 1, 0b0101), (5, 3, 0, 0b110), (2, 2, 1, 0), (7, 3, 3, 1)]
)
@pytest.mark.parametrize("iterations", [0, 1, 2])
def test_circuit_measures_the_law(size: int, bits: int, radius: int, query: int, iterations: int) -> None:
    """Every gate of the circuit, on the vector of all its qubits; the work registers end in 0."""
    from qiskit.quantum_info import Statevector

    probabilities, _ = problem(size, seed=1)
    codes = np.random.default_rng(2).integers(1 << bits, size=size).astype(np.uint64)
    circuit = recall_circuit(probabilities, codes, query, radius, bits, iterations)
    places = circuit.num_qubits - bits - bits.bit_length()
    measured = Statevector(circuit).probabilities().reshape(-1, 1 << places)  # [work registers, index]
    expected = np.zeros(1 << places)
    expected[:size] = amplified(probabilities, hamming(codes, query) <= radius, iterations)
    np.testing.assert_allclose(measured[0], expected, atol=1e-10)
    np.testing.assert_allclose(measured[1:], 0.0, atol=1e-10)


@pytest.mark.slow
def test_circuit_of_basic_gates() -> None:
    """The same after Qiskit has taken it apart into gates of one and two qubits."""
    from qiskit import transpile
    from qiskit.quantum_info import Statevector

    probabilities, _ = problem(4, seed=3)
    codes = np.array([0, 3, 1, 2], np.uint64)
    circuit = transpile(recall_circuit(probabilities, codes, 3, 0, 2, 1), basis_gates=["cx", "u"], optimization_level=0)
    measured = Statevector(circuit).probabilities().reshape(-1, 4)[0]
    np.testing.assert_allclose(measured, amplified(probabilities, codes == 3, 1), atol=1e-9)


def test_circuit_refuses_negative_iterations() -> None:
    with pytest.raises(ValueError, match="iterations=-1"):
        recall_circuit(np.ones(2) / 2, np.array([0, 1], np.uint64), 0, 0, 1, -1)


def walk(widths: list[int], marked: float) -> tuple[float, float]:
    """Success and mean queries by enumerating all iterations of all rounds."""
    pending, success, queries = 1.0, 0.0, 0.0
    for width in widths:
        hits = [float(marked_probability(marked, j)) for j in range(width)]
        queries += pending * sum(j + 1 for j in range(width)) / width
        success += pending * sum(hits) / width
        pending *= 1.0 - sum(hits) / width
    return success, queries


@pytest.mark.parametrize("marked", [0.0, 1e-9, 0.003, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("queries", [0, 1, 10, 300])
def test_search_has_its_closed_form(marked: float, queries: int) -> None:
    search = Search.within(queries)
    assert search.widths.sum() <= queries
    success, mean = walk(search.widths.tolist(), marked)
    assert search.success(marked) == pytest.approx(success, rel=1e-9, abs=1e-15)
    assert search.expected_queries(marked) == pytest.approx(mean, rel=1e-9)


def test_round_is_that_of_boyer() -> None:
    """Mean success of a round of M widths: 1/2 - sin(4 M theta) / (4 M sin 2 theta) (Boyer et al., lemma 2)."""
    theta = np.arcsin(np.sqrt(0.01))
    for width in (1, 2, 7, 40):
        closed = 0.5 - np.sin(4 * width * theta) / (4 * width * np.sin(2 * theta))
        assert Search(np.array([width])).success(0.01) == pytest.approx(closed, rel=1e-10)


def test_smallest_marked_part() -> None:
    """A search of P = 1e-280 succeeds by P x sum of the mean (2 j + 1)^2, to all digits."""
    search = Search.within(100)
    gain = sum(np.mean((2 * np.arange(width) + 1) ** 2) for width in search.widths)
    assert search.success(1e-280) / 1e-280 == pytest.approx(gain, rel=1e-9)


@pytest.mark.parametrize("marked", [0.0, 0.002, 0.3, 1.0])
def test_outcomes_follow_the_law(marked: float) -> None:
    """20,000 searches: success and mean queries within 5 standard errors."""
    search = Search.within(150)
    found, queries = search.run(np.random.default_rng(0), marked, 20_000)
    chance = search.success(marked)
    assert abs(found.mean() - chance) <= 5 * np.sqrt(chance * (1 - chance) / found.size) + 1e-12
    assert abs(queries.mean() - search.expected_queries(marked)) <= 5 * queries.std() / np.sqrt(queries.size) + 1e-12
    assert queries.max() <= search.widths.sum()


def test_queries_grow_with_the_root_of_the_size() -> None:
    """One of N marked, nobody knows it: slope 1/2 on N = 2^8..2^16, at most 9/2 sqrt(N) on average, 2 % missed."""
    sizes = 2 ** np.arange(8, 17)
    searches: list[Any] = [Search.within(9 * int(np.sqrt(size))) for size in sizes]
    means = np.array([search.expected_queries(1 / size) for search, size in zip(searches, sizes, strict=True)])
    assert abs(np.polyfit(np.log(sizes), np.log(means), 1)[0] - 0.5) < 0.05
    assert (means < 4.5 * np.sqrt(sizes)).all()
    assert all(search.success(1 / size) > 0.98 for search, size in zip(searches, sizes, strict=True))
