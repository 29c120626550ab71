"""Layers that ask a backend: the same numbers, one job for a batch."""

import copy
import pickle

import pytest
import torch
from torch import nn

from hybrid_opt import BudgetExceeded, CircuitLayer, ProblemError
from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import CircuitProgram, Limits
from hybrid_opt.backends.ledger.store import Ledger
from hybrid_opt.backends.local.statevector import Statevector
from hybrid_opt.circuits.encodings.registry import ENCODINGS
from hybrid_opt.layers.layer import acting


class Counted(Statevector):
    """A backend that keeps what it was asked."""

    def __init__(self, sets=None):
        super().__init__(name="counted")
        self.jobs, self.sets = [], sets

    @property
    def limits(self):
        return Limits(parameter_sets=self.sets)

    def submit(self, programs, key, seed=0):
        self.jobs.append([(len(program.parameters), program.shots) for program in programs])
        return super().submit(programs, key, seed)


def made(encoding="angle", **options):
    torch.manual_seed(0)
    inputs = ENCODINGS.find(encoding, "encoding")().inputs(3)
    return CircuitLayer(inputs, None, 3, 2, encoding, **options)


def drawn(layer, rows):
    torch.manual_seed(1)
    x = torch.randn(rows, layer.inputs)
    return (x > 0).float() if layer.scale is None else x


@pytest.mark.parametrize("observables", ["z", "zz", "probabilities"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_exact_backend_gives_the_numbers_of_the_simulation(encoding, observables):
    layer = made(encoding, observables=observables)
    x, backend = drawn(layer, 4), Counted()
    expected = layer(x)
    with acting(nn.Sequential(layer), backend), torch.no_grad():
        found = layer(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert torch.equal(layer(x), expected) and backend.jobs == [[(4, None)]]


@pytest.mark.parametrize(("backend", "tolerance"), [("aer", 0.0), ("lightning", 0.0), ("ibm:fake_torino", 0.15)])
@pytest.mark.parametrize("observables", ["zz", "probabilities"])
def test_backends_agree_within_statistics(backend, tolerance, observables):
    """4.5 standard errors, and what the noise of the device may change."""
    shots, layer = 4000, made(observables=observables)
    x = drawn(layer, 3)
    with torch.no_grad():
        exact = layer(x)
        with acting(layer, backend, shots):
            found = layer(x)
    variance = 1 - exact.square() if observables == "zz" else exact * (1 - exact)
    assert ((found - exact).abs() <= 4.5 * (variance.clamp_min(1e-3) / shots).sqrt() + tolerance).all()
    assert not torch.equal(found, exact)


def test_the_circuit_run_by_a_fake_device_is_the_layer_run_by_it():
    """The same circuit with the same noise: two samples that differ by statistics alone."""
    shots, layer = 4000, made()
    x, backend = drawn(layer, 2), open_backend("ibm:fake_torino")
    program = CircuitProgram(layer.circuit(), layer.angles(x).detach().double().numpy(), shots)
    samples = backend.submit(program, "circuit", 3).result().samples
    means = torch.stack([1 - 2 * torch.from_numpy(bits).float().mean(0) for bits in samples])
    with acting(layer, backend, shots), torch.no_grad():
        found = layer(x)
    assert ((found - means).abs() <= 4.5 * (2 * (1 - means.square()).clamp_min(1e-3) / shots).sqrt()).all()


def test_a_layer_with_a_backend_asks_it_and_learns_from_the_simulation():
    backend = Counted()
    layer, twin = made(backend=backend, shots=100), made()
    x = drawn(layer, 5)
    y = layer(x)
    y.sum().backward()
    twin(x).sum().backward()
    assert backend.jobs == [[(5, 100)]] and ((y * 50).detach().round() / 50 - y).abs().max() < 1e-6
    torch.testing.assert_close(layer.weights.grad, twin.weights.grad)


def test_shifts_on_a_backend_are_one_job_more():
    backend = Counted()
    layer, twin = made(backend=backend, gradient="shift"), made()
    x = drawn(layer, 2)
    layer(x).sum().backward()
    twin(x).sum().backward()
    assert backend.jobs == [[(2, None)], [(2 * 2 * (6 + layer.weights.numel()), None)]]
    torch.testing.assert_close(layer.weights.grad, twin.weights.grad, rtol=0, atol=1e-5)


def test_a_surrogate_on_a_backend_is_one_job():
    backend = Counted()
    layer = made(backend=backend, gradient="surrogate")
    layer(drawn(layer, 4)).sum().backward()
    assert backend.jobs == [[(4 + 2 * 1024, None)]] and layer.weights.grad.any()


def test_a_batch_beyond_the_limit_of_a_backend_is_one_job_of_some_programs():
    layer = made()
    x, backend = drawn(layer, 5), Counted(2)
    expected = layer(x)
    with acting(layer, backend), torch.no_grad():
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-5)
        assert layer(x[:0]).shape == (0, 3)
    assert backend.jobs == [[(2, None), (2, None), (1, None)]]


def test_samples_follow_the_generator():
    layer = made()
    x, found = drawn(layer, 5), []
    with acting(layer, Counted(), 20), torch.no_grad():
        for seed in (1, 1, 2):
            layer.generator = torch.Generator().manual_seed(seed)
            found.append(layer(x))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_jobs_are_in_the_ledger_and_within_the_budget(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", {"shots": 700})
    backend, layer = open_backend("aer", ledger=ledger), made()
    x = drawn(layer, 3)
    with torch.no_grad(), acting(layer, backend, 100):
        layer(x)
        layer(x + 1)
        with pytest.raises(BudgetExceeded):
            layer(x + 2)
    assert [row["shots"] for row in ledger.attempts()] == [300, 300]
    assert layer.processor is None and layer.shots is None
    backend.close()


def test_a_layer_with_a_backend_is_copied_and_pickled():
    layer = made(backend="aer", shots=10)
    x = drawn(layer, 2)
    with torch.no_grad():
        assert layer(x).shape == copy.deepcopy(layer)(x).shape == pickle.loads(pickle.dumps(layer))(x).shape == (2, 3)
    layer.close()


def test_a_device_has_no_exact_mode():
    layer = made(backend="ibm:fake_torino")
    with pytest.raises(ProblemError, match="^shots=None: backend=ibm:fake_torino has no exact mode"):
        layer(drawn(layer, 1))
