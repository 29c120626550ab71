"""Measures of circuits against Qiskit's states, closed forms and loops."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from qiskit.quantum_info import Statevector
from torch import Tensor

from hybrid_opt.circuits.ansatz.registry import ANSATZE
from hybrid_opt.circuits.encodings.registry import ENCODINGS
from hybrid_opt.circuits.reuploading import Reuploading
from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.layer import CircuitLayer
from hybrid_opt.layers.measures.dimension import effective_dimension, of_bits, of_classes
from hybrid_opt.layers.measures.entanglement import entanglement, meyer_wallach
from hybrid_opt.layers.measures.expressibility import expressibility
from hybrid_opt.layers.measures.functions import lipschitz_bound, spectrum, steepest
from hybrid_opt.layers.measures.plateau import gradient_variances
from hybrid_opt.layers.measures.states import States


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def states(ansatz: str, qubits: int, layers: int, entangle: str = "ring", encoding: str = "angle") -> States:
    made = ENCODINGS.find(encoding, "encoding")(), ANSATZE.find(ansatz, "ansatz")()
    return States(Reuploading.of(*made, qubits, layers, entangle))  # type: ignore[arg-type]


class Drawn(States):
    """Haar-random states in the place of a circuit's."""

    def __init__(self, qubits: int, real: bool) -> None:
        self.qubits, self.real, self.generator = qubits, real, generator(1)

    def __call__(self, weights: Tensor, data: Tensor | None = None) -> Tensor:
        parts = torch.randn(2, len(weights), 1 << self.qubits, generator=self.generator, dtype=torch.float64)
        found = torch.complex(parts[0], parts[1] * (not self.real))
        return found / found.norm(dim=1, keepdim=True)

    def random(self, rows: int, generator: torch.Generator | None) -> Tensor:
        return torch.zeros(rows, 1)


@given(
    st.sampled_from(["strong", "ry_cz", "brick"]),
    st.sampled_from(["none", "ring", "all"]),
    st.sampled_from(["angle", "angle_xyz", "iqp", "dense"]),
    st.integers(2, 3),
    st.integers(1, 3),
)
def test_states_are_those_of_qiskit(ansatz: str, entangle: str, encoding: str, qubits: int, layers: int) -> None:
    ours = states(ansatz, qubits, layers, entangle, encoding)
    weights = ours.random(2, generator())
    data = torch.randn(2, len(ours.structure.data), generator=generator(), dtype=torch.float64)
    for found, row, angles in zip(ours(weights, data), weights, data, strict=True):
        values = torch.cat([angles, row[torch.tensor(ours.structure.trained)]]).numpy()
        expected = Statevector(ours.structure.circuit.assign_parameters(values)).data
        overlap = np.vdot(expected, found.numpy())
        assert abs(overlap) == pytest.approx(1, abs=1e-12)  # a global phase is none of a state's


def test_entanglement_of_known_states() -> None:
    """GHZ: 1; a product: 0; W of three qubits: 8/9, for each qubit alone is mixed by (1/3, 2/3)."""
    ghz, product, w = torch.zeros(3, 8, dtype=torch.complex128)
    ghz[[0, 7]], product[:] = 1 / math.sqrt(2), 1 / math.sqrt(8)
    w[[1, 2, 4]] = 1 / math.sqrt(3)
    assert meyer_wallach(torch.stack([ghz, product, w])).tolist() == pytest.approx([1, 0, 8 / 9], abs=1e-12)
    mean, std = entanglement(states("strong", 3, 2, "none"), 20, generator())
    assert mean == pytest.approx(0, abs=1e-12) and std == pytest.approx(0, abs=1e-12)
    mean, _ = entanglement(Drawn(3, real=False), 4000)  # (N - 2) / (N + 1) of random states (quant-ph/0405148)
    assert mean == pytest.approx(6 / 9, abs=0.01)


@pytest.mark.parametrize("real", [False, True])
def test_random_states_have_the_divergence_of_the_estimate_alone(real: bool) -> None:
    pairs = 20_000
    found = expressibility(Drawn(3, real), pairs)
    assert found[real] < 2 * 75 / (2 * pairs) and found[not real] > 0.1


def test_expressibility_of_a_turned_qubit() -> None:
    """RY by a uniform angle: fidelities cos^2 have the arcsine law, which is that of real states of one qubit."""
    assert expressibility(states("ry_cz", 1, 1, "none"), 20_000, generator())[1] < 0.005


@pytest.mark.parametrize("qubits", [1, 2, 4])
def test_variances_of_a_product_circuit(qubits: int) -> None:
    """RY on each: d<Z_0> = -sin has variance 1/2; of prod cos^2(t/2) it is 1/8 (3/8)^(n - 1). To 6 standard errors."""
    circuit, rows = states("ry_cz", qubits, 1, "none"), 40_000
    assert gradient_variances(circuit, "local", rows, generator()).median == pytest.approx(0.5, abs=0.012)
    exact = 3 / 8**qubits * 3 ** (qubits - 2)
    found = gradient_variances(circuit, "projector", rows, generator())
    assert found.median == pytest.approx(exact, rel=0.1) and found.last == pytest.approx(exact, rel=0.1)


@pytest.mark.slow
def test_deep_circuits_lose_half_of_the_variance_or_three_quarters_by_a_qubit() -> None:
    widths = [2, 4, 6]
    for observable, slope, tolerance in (("local", -1.0, 0.1), ("projector", -1.9, 0.15)):
        circuits = [states("ry_cz", n, 6 * n) for n in widths]
        found = [gradient_variances(circuit, observable, 512, generator()).median for circuit in circuits]  # type: ignore[arg-type]
        assert np.polyfit(widths, np.log2(found), 1)[0] == pytest.approx(slope, abs=tolerance)


def abbas(fishers: np.ndarray, data: int) -> float:
    """Equation 4 of arXiv 2011.00027 by determinants, matrix by matrix."""
    size = fishers.shape[1]
    normalised = size * fishers / np.mean([np.trace(fisher) for fisher in fishers])
    k = data / (2 * math.pi * math.log(data))
    roots = [math.sqrt(np.linalg.det(np.eye(size) + k * fisher)) for fisher in normalised]
    return 2 * math.log(np.mean(roots)) / math.log(k)


def difference(function: Callable[[np.ndarray], np.ndarray], at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """The derivatives [D, ...] by central differences."""
    moves = step * np.eye(len(at))
    return np.array([(function(at + move) - function(at - move)) / (2 * step) for move in moves])


@pytest.mark.parametrize(("ansatz", "qubits", "layers"), [("ry_cz", 2, 2), ("strong", 2, 1), ("brick", 3, 1)])
def test_effective_dimension_of_bits(ansatz: str, qubits: int, layers: int) -> None:
    """Against Qiskit's states, finite differences and the definition of the Fisher matrix."""
    circuit = states(ansatz, qubits, layers)
    weights = circuit.random(5, generator())
    data = torch.randn(4, len(circuit.structure.data), generator=generator(), dtype=torch.float64)

    def law(row: np.ndarray, angles: np.ndarray) -> np.ndarray:
        values = np.concatenate([angles, row[list(circuit.structure.trained)]])
        probabilities: np.ndarray = Statevector(circuit.structure.circuit.assign_parameters(values)).probabilities()
        return probabilities

    fishers = []
    for row in weights.numpy():
        fisher = np.zeros((len(row), len(row)))
        for angles in data.numpy():
            slopes, laws = difference(lambda at, angles=angles: law(at, angles), row), law(row, angles)
            fisher += (slopes / laws) @ slopes.T / len(data)
        fishers.append(fisher)
    scores = torch.stack([of_bits(circuit, row, data) for row in weights])
    assert torch.einsum("tma,tmb->tab", scores, scores).numpy() == pytest.approx(np.array(fishers), abs=1e-6)
    assert effective_dimension(scores, 10**5) == pytest.approx(abbas(np.array(fishers), 10**5), rel=1e-6)
    if ansatz == "ry_cz":  # for states of real numbers it is the quantum Fisher matrix, 4 J'J
        slopes = difference(lambda at: circuit(torch.tensor(at[None]), data[:1])[0].real.numpy(), weights[0].numpy())
        score = of_bits(circuit, weights[0], data[:1])
        if len(data[0]) == 0 or np.abs(circuit(weights[:1], data[:1]).imag.numpy()).max() < 1e-12:
            assert (score.T @ score).numpy() == pytest.approx(4 * slopes @ slopes.T, abs=1e-6)


def test_effective_dimension_of_equal_information() -> None:
    """F = 1 for all parameters gives D log(1 + k) / log k, however its factors are written."""
    k = 10**4 / (2 * math.pi * math.log(10**4))
    exact = 6 * math.log(1 + k) / math.log(k)
    for rows in (6, 7, 60):  # with fewer rows than parameters the rank is theirs
        factors = torch.linalg.qr(torch.randn(3, rows, 6, generator=generator(), dtype=torch.float64)).Q
        assert effective_dimension(factors, 10**4) == pytest.approx(exact)
    with pytest.raises(ProblemError, match="^data=100: at least 10000 is accepted"):
        effective_dimension(factors, 100)


def test_scores_of_classes() -> None:
    """Logistic regression: the Fisher matrix is mean p (1 - p) x x'."""
    x, weights = torch.randn(20, 3, generator=generator()), torch.randn(3, generator=generator(1))
    logits = torch.stack([x @ weights, torch.zeros(20)], 1)
    slopes = torch.stack([x, torch.zeros_like(x)], 1)
    p = logits.softmax(1)[:, 0]
    scores = of_classes(logits, slopes)
    torch.testing.assert_close(scores.T @ scores, torch.einsum("x,xa,xb->ab", p * (1 - p), x, x) / 20)


def test_frequencies_of_waves_and_circuits() -> None:
    inputs = torch.randn(5, 2, generator=generator(), dtype=torch.float64)
    found = spectrum(lambda x: x[:, :1].cos() + 3 * (2 * x[:, 1:]).sin(), inputs)
    assert found[:3].tolist() == pytest.approx([0.1, 0.9, 0])
    layer = CircuitLayer(3, qubits=3, layers=3).double()
    shares = spectrum(layer, torch.randn(5, 3, generator=generator(), dtype=torch.float64))
    assert shares.sum() == pytest.approx(1) and shares[3:].max() < 1e-20  # three uploads (arXiv 2008.08605)


@given(st.sampled_from(["angle", "angle_xyz", "dense"]), st.integers(0, 99))
def test_no_slope_exceeds_the_bound(encoding: str, seed: int) -> None:
    torch.manual_seed(seed)
    qubits = 2
    width = ENCODINGS.find(encoding, "encoding")().inputs(qubits)
    layer = CircuitLayer(width, qubits=qubits, layers=2, encoding=encoding).double()
    with torch.no_grad():
        layer.scale.normal_()  # type: ignore[union-attr]
    inputs = torch.randn(50, width, dtype=torch.float64)
    assert 0 < steepest(layer, inputs) <= lipschitz_bound(layer) + 1e-12


def test_a_bound_that_is_met_and_one_that_is_not_known() -> None:
    layer = CircuitLayer(1, qubits=1, layers=1, entangle="none").double()
    with torch.no_grad():
        layer.weights.zero_()
        layer.scale.fill_(3.0)  # type: ignore[union-attr]
    assert lipschitz_bound(layer) == pytest.approx(3)
    assert steepest(layer, torch.linspace(-2, 2, 401, dtype=torch.float64)[:, None]) == pytest.approx(3, abs=1e-3)
    with pytest.raises(ProblemError, match="no bound is known"):
        lipschitz_bound(CircuitLayer(3, qubits=3, encoding="iqp"))
