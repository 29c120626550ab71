"""Which qubits an ansatz entangles."""

from itertools import combinations

import pytest

from hybrid_opt.circuits.ansatz.registry import ANSATZE


def edges(name, qubits, layer, how):
    ansatz = ANSATZE.find(name, "ansatz")()
    return [frozenset(gate.qubits) for gate in ansatz.entanglers(qubits, layer, how)]


def test_all_files_are_found():
    assert sorted(ANSATZE) == ["brick", "ry_cz", "strong"]


@pytest.mark.parametrize("name", ["brick", "ry_cz", "strong"])
def test_one_qubit_and_no_entangler(name):
    for how in ("none", "ring", "all"):
        assert edges(name, 1, 0, how) == []
    assert edges(name, 4, 1, "none") == []


@pytest.mark.parametrize("name", ["ry_cz", "strong"])
@pytest.mark.parametrize("qubits", range(2, 8))
def test_all_is_each_pair_once(name, qubits):
    found = edges(name, qubits, 0, "all")
    assert len(found) == len(set(found)) and set(found) == set(map(frozenset, combinations(range(qubits), 2)))


@pytest.mark.parametrize("qubits", range(2, 8))
def test_bricks_are_disjoint_and_together_all_that_is_to_be_entangled(qubits):
    """Oracle: the edges of the ring and of the complete graph."""
    ring = {frozenset((q, (q + 1) % qubits)) for q in range(qubits if qubits % 2 == 0 else qubits - 1)}
    for how, rounds, expected in (
        ("ring", 2, ring),
        ("all", qubits - 1 + qubits % 2, set(map(frozenset, combinations(range(qubits), 2)))),
    ):
        bricks = [edges("brick", qubits, layer, how) for layer in range(rounds)]
        assert all(len(frozenset().union(*layer)) == 2 * len(layer) for layer in bricks)
        assert set().union(*bricks) == expected


@pytest.mark.parametrize("qubits", range(2, 8))
def test_a_ring_of_cz_has_no_edge_twice(qubits):
    found = edges("ry_cz", qubits, 0, "ring")
    assert len(found) == len(set(found)) == (qubits if qubits > 2 else 1)
