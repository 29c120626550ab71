"""What all machines have in common: laws, likelihoods, samples, training, state."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch

from quantum_sampler.codes.projection import pack, unpack
from quantum_sampler.machines import IndependentBits, Machine, Rbm, SemiQuantumRbm, TransverseMachine
from quantum_sampler.machines.reader import PathIntegralReader

Rng = np.random.Generator


def randomised(machine: Machine, seed: int, scale: float = 0.4) -> Machine:
    rng = np.random.default_rng(seed)
    for name, values in machine.parameters.items():
        drawn = scale * rng.standard_normal(values.shape)
        if name == "couplings":
            drawn = np.triu(drawn, 1)
            drawn = drawn + drawn.T
        values[...] = drawn
    return machine


MAKERS: dict[str, Callable[[Rng], Machine]] = {
    "independent": lambda rng: IndependentBits(6),
    "rbm": lambda rng: Rbm(6, 4, rng),
    "rbm-chains": lambda rng: Rbm(6, 4, rng, exact_bits=0),
    "semi_quantum": lambda rng: SemiQuantumRbm(6, 4, rng),
    "semi_quantum-chains": lambda rng: SemiQuantumRbm(6, 4, rng, exact_bits=0),
    "transverse": lambda rng: TransverseMachine(6, 2, rng),
    "transverse-path_integral": lambda rng: TransverseMachine(6, 5, rng, reader=PathIntegralReader(0.7, 64)),
}
every = pytest.mark.parametrize("kind", MAKERS)


def codes(count: int = 600, seed: int = 5) -> np.ndarray:
    """Two prototypes of 6 bits with a tenth of the bits flipped: far from independent."""
    rng = np.random.default_rng(seed)
    prototypes = np.array([[0, 0, 1, 0, 1, 1], [1, 1, 0, 1, 0, 0]])
    return pack(prototypes[rng.integers(2, size=count)] ^ (rng.random((count, 6)) < 0.1))


@every
def test_probabilities_sum_to_one(kind: str) -> None:
    rng = np.random.default_rng(0)
    machine = randomised(MAKERS[kind](rng), 1)
    energies = machine.free_energy(np.arange(64, dtype=np.uint64))
    assert energies.shape == (64,)
    assert np.exp(-energies - machine.log_partition(rng)).sum() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "transverse-path_integral"])
def test_samples_follow_the_law(kind: str) -> None:
    """Chi-squared over 64 codes against its mean 63 and deviation 11; reads are compared in test_transverse."""
    rng = np.random.default_rng(0)
    machine = randomised(MAKERS[kind](rng), 1, 0.2)
    law = np.exp(-machine.free_energy(np.arange(64, dtype=np.uint64)) - machine.log_partition(rng))
    counts = np.bincount(machine.sample(6000, rng).astype(int), minlength=64)
    assert ((counts - 6000 * law) ** 2 / (6000 * law)).sum() < 63 + 5 * 11.3


@every
def test_training_learns_what_independent_bits_cannot(kind: str) -> None:
    rng = np.random.default_rng(0)
    machine = MAKERS[kind](rng)
    before = machine.log_likelihood(codes(seed=6), rng)
    machine.train(codes(), 60, 0.1, rng)
    control = IndependentBits(6)
    control.fit(codes())
    likelihood, independent = (each.log_likelihood(codes(seed=6), rng) for each in (machine, control))
    assert likelihood > before - 0.05
    if kind != "independent":
        assert likelihood > independent + 0.5  # of the mixture itself: 1.5 nats more


@every
def test_state_continues_exactly(kind: str) -> None:
    rng = np.random.default_rng(0)
    machine = MAKERS[kind](rng)
    machine.train(codes(), 3, 0.1, np.random.default_rng(1))
    file = io.BytesIO()
    torch.save(machine.state_dict(), file)
    file.seek(0)
    other = MAKERS[kind](np.random.default_rng(9))
    other.load_state_dict(torch.load(file, weights_only=True))
    for each in (machine, other):
        each.train(codes(), 3, 0.1, np.random.default_rng(2))
    np.testing.assert_array_equal(machine.free_energy(codes(9)), other.free_energy(codes(9)))


@every
def test_a_copy_goes_its_own_way(kind: str) -> None:
    machine = MAKERS[kind](np.random.default_rng(0))
    before = machine.free_energy(codes(9))
    state = machine.state_dict()
    machine.copy().train(codes(), 3, 0.1, np.random.default_rng(2))
    np.testing.assert_array_equal(machine.free_energy(codes(9)), before)
    for name, value in machine.state_dict().items():
        assert torch.equal(value, state[name]) if isinstance(value, torch.Tensor) else value == state[name]


def test_independent_bits_fit_is_the_most_likely() -> None:
    machine = IndependentBits(6)
    machine.fit(codes())
    ones = (unpack(codes(), 6).sum(0) + 1) / 602
    expected = np.log(np.where(unpack(codes(9), 6) == 1, ones, 1 - ones)).sum(1).mean()
    assert machine.log_likelihood(codes(9), np.random.default_rng(0)) == pytest.approx(expected, abs=1e-9)


def test_training_without_codes_changes_nothing() -> None:
    machine = Rbm(6, 4, np.random.default_rng(0))
    before = machine.parameters["weights"].copy()
    machine.train(np.empty(0, np.uint64), 5, 0.1, np.random.default_rng(0))
    np.testing.assert_array_equal(machine.parameters["weights"], before)
