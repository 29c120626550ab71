"""Reads of a memory: against brute force, a Qiskit circuit, shots, closed forms and finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from torch import Tensor

from hybrid_opt.errors import ProblemError
from quantum_sampler.amplitude.amplification import Search, marked_probability
from tests.oracles.memory_circuit import as_qasm, memory_circuit, read_law
from tests.oracles.recall_circuit import recall_circuit
from worldmodel.model.batch import Slots
from worldmodel.model.config import MemoryOptions, ModelConfig
from worldmodel.model.factory import Factory
from worldmodel.model.memories import MEMORIES
from worldmodel.model.memories.base.episodic import EpisodicMemory
from worldmodel.model.memories.base.writing import amplitudes

KINDS = sorted(set(MEMORIES) - {"none"})


def memory(kind: str, slots: int = 8, amplitudes: int = 4, **options: object) -> EpisodicMemory:
    torch.manual_seed(0)
    given = MemoryOptions(slots=slots, amplitudes=amplitudes, values=3, **options)  # type: ignore[arg-type]
    made: EpisodicMemory = Factory(ModelConfig(memory=kind, memory_options=given)).memory(6, 5)
    return made.double()


def filled(rows: int, slots: int, width: int, values: int, seed: int = 0, free: int = 0) -> Tensor:
    """Sums [N, M, W] with 1 to 4 items a slot, the last `free` slots free."""
    random = torch.Generator().manual_seed(seed)
    count = torch.randint(1, 5, (rows, slots, 1), generator=random).double()
    keys = amplitudes(torch.randn(rows, slots, width - 1, generator=random, dtype=torch.float64)) * count
    value = torch.randn(rows, slots, values, generator=random, dtype=torch.float64) * count
    sums = torch.cat([keys, value, count], -1)
    sums[:, slots - free :] = 0
    return sums


def problem(slots: int = 8, width: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(slots + 1, width))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[1:], rows[0]


def shares(kind: str, keys: np.ndarray, query: np.ndarray, beta: int = 1) -> np.ndarray:
    part, sums = memory(kind, len(keys), keys.shape[1], beta=beta), torch.from_numpy(keys)
    _, found = part.weighed(torch.from_numpy(query), sums, torch.zeros(len(keys), 3).double(), torch.ones(len(keys)))
    return found.detach().numpy()


@pytest.mark.parametrize("beta", [1, 3, 32])
def test_laws_are_those_of_a_loop(beta: int) -> None:
    """Oracle: the definition, slot by slot."""
    keys, query = problem(seed=beta)
    overlaps = [sum(a * b for a, b in zip(key, query, strict=True)) for key in keys]
    quantum = np.array([overlap ** (2 * beta) for overlap in overlaps])
    np.testing.assert_allclose(shares("qmatrix", keys, query, beta), quantum / quantum.sum(), atol=1e-12)
    soft = np.exp([2 * beta * (overlap - max(overlaps)) for overlap in overlaps])
    np.testing.assert_allclose(shares("attention", keys, query, beta), soft / soft.sum(), atol=1e-12)
    np.testing.assert_array_equal(shares("nearest", keys, query).argmax(), np.argmax(overlaps))
    np.testing.assert_allclose(shares("nearest", keys, query), np.eye(8)[np.argmax(overlaps)], atol=1e-12)


def test_a_random_slot_is_uniform_among_the_used() -> None:
    """The tolerance is six standard deviations."""
    part, sums = memory("random"), filled(1, 8, 4, 3, free=3).expand(20_000, -1, -1)
    _, found = part._read(torch.zeros(20_000, 4).double(), sums)
    np.testing.assert_allclose(found.mean(0).numpy(), [0.2] * 5 + [0.0] * 3, atol=6 * (0.16 / 20_000) ** 0.5)


def test_twins_fall_alike_around_a_match() -> None:
    """To second order in the angle a both weights are 1 - beta a^2."""
    query = np.array([1.0, 0.0])
    for angle in (0.02, 0.05):
        keys = np.array([query, [np.cos(angle), np.sin(angle)]])
        for kind in ("qmatrix", "attention"):
            found = shares(kind, np.pad(keys, ((0, 0), (0, 2))), np.pad(query, (0, 2)), beta=5)
            assert found[1] / found[0] == pytest.approx(1 - 5 * angle**2, abs=5 * angle**4 * 10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("free", [0, 5, 8])
def test_shares_sum_to_one_over_used_slots(kind: str, free: int) -> None:
    """An empty memory gives nothing, and no NaN."""
    part, sums = memory(kind), filled(7, 8, 4, 3, free=free)
    query = amplitudes(torch.randn(7, 3).double())
    context, found = part._read(query, sums)
    torch.testing.assert_close(found.sum(-1), torch.full((7,), float(free < 8), dtype=torch.float64))
    assert (found >= -1e-12).all() and (found[:, 8 - free :] == 0).all()
    means = sums[..., 4:7] / sums[..., 7:].clamp(min=1)
    torch.testing.assert_close(context, torch.einsum("nm,nmv->nv", found, means))
    torch.testing.assert_close(part.read(query, Slots(sums)), context) if kind != "random" else None


@pytest.mark.parametrize("kind", ["attention", "qmatrix"])
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    part, sums = memory(kind, beta=2), filled(2, 8, 4, 3, free=2)
    state, values = torch.randn(2, 6).double().requires_grad_(), sums[..., 4:7].clone().requires_grad_()

    def read(state: Tensor, values: Tensor) -> Tensor:
        assert part.ask is not None
        query = amplitudes(part.ask(state))
        return part.read(query, Slots(torch.cat([sums[..., :4], values, sums[..., 7:]], -1)))

    assert torch.autograd.gradcheck(read, (state, values))


@pytest.mark.parametrize("seed", range(3))
def test_the_circuit_has_the_law(seed: int) -> None:
    """8 slots, 4 amplitudes: post-selection gives the shares, and its chance the mean fidelity, to 1e-9."""
    from qiskit.quantum_info import Statevector

    keys, query = problem(seed=seed)
    found, success = read_law(Statevector(memory_circuit(keys, query)).probabilities(), 3, 8)
    np.testing.assert_allclose(found, shares("qmatrix", keys, query), atol=1e-9)
    assert success == pytest.approx(np.mean((keys @ query) ** 2), abs=1e-9)


@pytest.mark.parametrize("version", [2, 3])
def test_openqasm_holds_the_circuit(version: int) -> None:
    from qiskit import qasm2, qasm3
    from qiskit.quantum_info import Statevector

    keys, query = problem(seed=4)
    text = as_qasm(memory_circuit(keys, query), version)
    assert text.startswith(f"OPENQASM {version}.0;")
    if version == 3:
        pytest.importorskip("qiskit_qasm3_import")
    again = (qasm3.loads if version == 3 else qasm2.loads)(text)
    found, _ = read_law(Statevector(again).probabilities(), 3, 8)
    np.testing.assert_allclose(found, shares("qmatrix", keys, query), atol=1e-9)


def test_shots_agree_with_the_law() -> None:
    """On Aer, chi-squared of the slots where the key reads 0, at 1e-6."""
    from qiskit import transpile
    from qiskit_aer import AerSimulator

    keys, query = problem(seed=1)
    circuit, shots = memory_circuit(keys, query), 40_000
    circuit.measure_all()
    backend = AerSimulator(seed_simulator=3)
    counts = backend.run(transpile(circuit, backend), shots=shots).result().get_counts()
    observed = np.array([counts.get(f"00{slot:03b}", 0) for slot in range(8)])
    success, law = np.mean((keys @ query) ** 2), shares("qmatrix", keys, query)
    assert observed.sum() / shots == pytest.approx(success, abs=6 * (success / shots) ** 0.5)
    expected = observed.sum() * law
    assert chi2.sf(((observed - expected) ** 2 / expected).sum(), 7) > 1e-6


@pytest.mark.parametrize("iterations", [1, 2])
def test_amplification_is_that_of_recall(iterations: int) -> None:
    """The search circuit of `recall` on the loaded state: the slots keep their law, and success is that of `Search`."""
    from qiskit.quantum_info import Statevector

    keys, query = problem(seed=2)
    start = Statevector(memory_circuit(keys, query)).probabilities()  # [32], the key in its high bits
    codes = np.arange(32, dtype=np.uint64) >> np.uint64(3)
    search = Statevector(recall_circuit(start, codes, 0, 0, 2, iterations))
    found, success = read_law(search.probabilities(range(5)), 3, 8)
    np.testing.assert_allclose(found, shares("qmatrix", keys, query), atol=1e-9)
    assert success == pytest.approx(float(marked_probability(np.mean((keys @ query) ** 2), iterations)), abs=1e-9)


MADE = memory("qmatrix")


@given(st.floats(1e-5, 1.0))
@settings(max_examples=50, deadline=None)
def test_queries_are_those_of_the_search(success: float) -> None:
    """The table between its points: 1 % of the queries of `Search`."""
    exact = Search.within(round(9 * 8**0.5)).expected_queries(success)
    assert float(MADE._queries(torch.tensor(success))) == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ({"memory": "lattice"}, "model.memory=lattice: no such memory (accepted: attention, nearest, none, qmatrix, r"),
        ({"memory_options": MemoryOptions(amplitudes=12)}, "model.memory_options.amplitudes=12: a power of two"),
        ({"agent": "control", "memory": "qmatrix"}, "model.memory: belongs to model.agent=dreamer"),
    ],
)
def test_bad_options_are_refused_in_one_line(model: dict[str, object], complaint: str) -> None:
    with pytest.raises(ProblemError, match="^[^\n]+$") as caught:
        Factory(ModelConfig(**model)).check()  # type: ignore[arg-type]
    assert str(caught.value).startswith(complaint)
