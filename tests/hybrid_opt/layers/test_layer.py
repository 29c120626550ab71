"""CircuitLayer against PennyLane, Qiskit and finite differences, and its own promises."""

import copy
import io
import pickle
from itertools import product

import pytest
import torch

from hybrid_opt import CircuitLayer, ProblemError
from hybrid_opt.circuits.ansatz.ansatz import Ansatz
from hybrid_opt.circuits.ansatz.registry import ANSATZE
from hybrid_opt.circuits.encodings.encoding import Encoding
from hybrid_opt.circuits.encodings.registry import ENCODINGS
from hybrid_opt.circuits.gate import Gate
from hybrid_opt.layers.sampling import counts
from tests.oracles import pennylane_layer

READOUTS = ["z", "zz", "probabilities"]


def made(encoding="angle", qubits=3, layers=2, seed=0, **options):
    torch.manual_seed(seed)
    inputs = ENCODINGS.find(encoding, "encoding")().inputs(qubits)
    layer = CircuitLayer(inputs, None, qubits, layers, encoding, **options)
    if layer.scale is not None:
        torch.nn.init.uniform_(layer.scale, 0.5, 1.5)
    return layer


def drawn(layer, *shape, seed=1, dtype=torch.float64):
    x = torch.randn(*shape, layer.inputs, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return (x > 0).to(dtype) if layer.scale is None else x


def by_pennylane(layer, encoding, ansatz, entangle, readout, x):
    weights = pennylane_layer.full(layer.weights, encoding, ansatz, layer.layers, layer.qubits)
    return pennylane_layer.circuit_layer(encoding, ansatz, entangle, readout, x, layer.scale, weights)


# Values


@pytest.mark.parametrize(("ansatz", "entangle"), list(product(ANSATZE, ["none", "ring", "all"])))
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_values_are_those_of_pennylane(encoding, ansatz, entangle):
    layer = made(encoding, ansatz=ansatz, entangle=entangle, observables="probabilities").double()
    x = drawn(layer, 2)
    expected = by_pennylane(layer, encoding, ansatz, entangle, "probabilities", x)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(layer.float()(x.float()).double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("qubits", [2, 4])
@pytest.mark.parametrize("ansatz", ANSATZE)
@pytest.mark.parametrize("readout", ["z", "zz"])
def test_expectations_and_their_gradients_are_those_of_pennylane(readout, ansatz, qubits):
    layer = made(qubits=qubits, layers=3, ansatz=ansatz, observables=readout).double()
    x = drawn(layer, 2).requires_grad_()
    values, expected = layer(x), by_pennylane(layer, "angle", ansatz, "ring", readout, x)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-9)
    upstream = torch.linspace(-1, 1, values.numel(), dtype=torch.float64).view_as(values)
    wanted = [x, layer.scale, layer.weights]
    found, true = (torch.autograd.grad((y * upstream).sum(), wanted) for y in (values, expected))
    torch.testing.assert_close(found, true, rtol=0, atol=1e-9)
    single, given = copy.deepcopy(layer).float(), x.detach().float().requires_grad_()
    wanted = [given, single.scale, single.weights]
    rough = torch.autograd.grad((single(given) * upstream.float()).sum(), wanted)
    for one, other in zip(rough, true, strict=True):
        assert (one.double() - other).norm() <= 1e-4 * other.norm()


@pytest.mark.parametrize("observables", READOUTS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_layer_is_its_circuit(encoding, observables):
    from qiskit.quantum_info import Statevector

    layer = made(encoding, observables=observables, ansatz="brick").double()
    x = drawn(layer, 2, 2)
    found = layer(x)
    assert found.shape == (2, 2, layer.outputs)
    rows, free = x.view(-1, layer.inputs), layer.circuit()
    sets = layer.angles(rows).detach().numpy()
    for row, angles, values in zip(rows, sets, found.view(-1, layer.outputs), strict=True):
        for circuit in (layer.circuit(row), free.assign_parameters(angles)):
            law = torch.tensor(Statevector(circuit).probabilities())
            torch.testing.assert_close(values.detach(), law @ layer.plan.parity, rtol=0, atol=1e-12)


# Parts of a user's


class Sparse(Encoding):
    """An encoding that uses one of its angles twice, and another one never."""

    def inputs(self, qubits):
        return 2

    def gates(self, qubits):
        return [Gate("ry", (0,), 2), Gate("h", (1,)), Gate("rx", (1,), 2), Gate("rzz", (0, 2), 0)]

    def angles(self, x):
        return torch.stack([x[..., 0], x[..., 1], x[..., 0] * x[..., 1]], -1)


class Shared(Ansatz):
    """One number for all qubits, and couplings that are trained."""

    def rotations(self, qubits):
        turns = [Gate("rx", (q,), 0) for q in range(qubits)]
        return [*turns, *[Gate("rzz", (q, q + 1), 1) for q in range(qubits - 1)], Gate("h", (0,)), Gate("ry", (1,), 2)]

    def entanglers(self, qubits, layer, entangle):
        return [Gate("cz", (0, 2)), Gate("cx", (2, 1))]


class Swapped(Shared):
    def entanglers(self, qubits, layer, entangle):
        return [Gate("swap", (0, 1))]


def test_gates_may_share_and_leave_out_angles():
    """Against the circuit, and the gradients of shifts and of the adjoint method against each other."""
    from qiskit.quantum_info import Statevector

    found = []
    for gradient in ("adjoint", "shift"):
        torch.manual_seed(0)
        where = {"encoding": f"{__name__}:Sparse", "ansatz": f"{__name__}:Shared"}
        layer = CircuitLayer(2, None, 3, 2, **where, observables="zz", gradient=gradient).double()
        x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
        y = layer(x)
        y.square().sum().backward()
        found.append([y.detach(), x.grad, layer.scale.grad, layer.weights.grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)
    for row, values in zip(x, y, strict=True):
        law = torch.tensor(Statevector(layer.circuit(row)).probabilities())
        torch.testing.assert_close(values, law @ layer.plan.parity, rtol=0, atol=1e-12)


def test_gates_that_are_none():
    with pytest.raises(ProblemError, match="^gate swap: h, rx, ry, rz, flip, rzz, cx, cz are accepted$"):
        CircuitLayer(3, 3, 3, ansatz=f"{__name__}:Swapped")


# Gradients


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_gradients_are_finite_differences(encoding):
    layer = made(encoding, 2, observables="zz").double()
    x, parameters = drawn(layer, 2), dict(layer.named_parameters())

    def outputs(x, *values):
        return torch.func.functional_call(layer, dict(zip(parameters, values, strict=True)), x)

    given = (x.requires_grad_(encoding != "basis"), *parameters.values())
    assert torch.autograd.gradcheck(outputs, given)
    assert torch.autograd.gradgradcheck(outputs, given)


@pytest.mark.parametrize("ansatz", ANSATZE)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_shifts_give_the_gradients_of_the_adjoint_method(encoding, ansatz):
    found = []
    for gradient in ("adjoint", "shift"):
        layer = made(encoding, ansatz=ansatz, observables="zz", gradient=gradient).double()
        x = drawn(layer, 3).requires_grad_(encoding != "basis")
        y = layer(x)
        (y * torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y)).sum().backward()
        found.append([y.detach(), x.grad, *(p.grad for p in layer.parameters())])
    for one, other in zip(*found, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_shifts_ask_for_no_gradient_that_nobody_wants(monkeypatch):
    layer = made(gradient="shift")
    counts, run = [], layer._simulated_in_parts
    monkeypatch.setattr(layer, "_simulated_in_parts", lambda angles: counts.append(len(angles)) or run(angles))
    x = drawn(layer, 5, dtype=torch.float32)
    layer(x).sum().backward()
    layer.scale.requires_grad_(False)
    layer(x).sum().backward()
    layer.weights.requires_grad_(False)
    layer(x)
    data, trained = len(layer.structure.data), layer.weights.numel()
    assert counts == [5, 10 * (data + trained), 5, 10 * trained, 5]


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0).item()


def test_a_surrogate_gives_the_circuits_values_and_gradients_near_its_own():
    """Two qubits, one layer: what the docstring calls shallow. Deeper circuits are measured in docs/model-parts.md."""
    found = []
    for gradient in ("adjoint", "surrogate"):
        layer = made(qubits=2, layers=1, gradient=gradient)
        layer.generator = torch.Generator().manual_seed(3)
        x = drawn(layer, 64, dtype=torch.float32).requires_grad_()
        y = layer(x)
        (y - x.detach().tanh()).square().sum().backward()
        found.append([y.detach(), x.grad, layer.scale.grad, layer.weights.grad])
    (y, *exact), (same, *near) = found
    torch.testing.assert_close(y, same)
    assert all(cosine(a, b) > 0.9 for a, b in zip(exact, near, strict=True))


def test_a_surrogate_is_determined_by_its_generator():
    layer, found = made(qubits=2, gradient="surrogate", shots=50), []
    for seed in (5, 5, 6):
        layer.generator, layer.weights.grad = torch.Generator().manual_seed(seed), None
        layer(drawn(layer, 3, dtype=torch.float32)).sum().backward()
        found.append(layer.weights.grad)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


@pytest.mark.parametrize("gradient", ["adjoint", "shift", "surrogate"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_number_that_is_trained_changes_in_one_step(encoding, gradient):
    layer = made(encoding, observables="zz", gradient=gradient)
    x = drawn(layer, 8, dtype=torch.float32)
    before = [p.detach().clone() for p in layer.parameters()]
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    (layer(x) * torch.linspace(-1, 1, layer.outputs)).sum().backward()
    optimizer.step()
    assert [name for name, _ in layer.named_parameters()] == ["weights"] + ["scale"] * (encoding != "basis")
    for p, old in zip(layer.parameters(), before, strict=True):
        assert (p != old).all()


def test_a_layer_learns_through_shots():
    """A sine in steps of Adam, with gradients of the law and values of samples."""
    layer = made(qubits=2, layers=2, shots=200)
    x = torch.linspace(-2, 2, 64)[:, None].expand(-1, 2)
    optimizer, losses = torch.optim.Adam(layer.parameters(), 0.05), []
    for _ in range(60):
        loss = (layer(x)[:, 0] - x[:, 0].sin()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


# Shots


@pytest.mark.parametrize("gradient", ["adjoint", "shift"])
def test_shots_are_drawn_for_all_outputs_at_once(gradient):
    """With one shot each Z is 1 or -1, and ZZ is the product of those, which marginals would not give."""
    layer = made(observables="zz", shots=1, gradient=gradient)
    with torch.no_grad():
        y = layer(drawn(layer, 200, dtype=torch.float32))
    z, pairs = y[:, :3], y[:, 3:]
    assert (z.abs() == 1).all() and torch.equal(pairs, z[:, :-1] * z[:, 1:])


def test_the_mean_of_shots_is_the_expectation():
    layer, shots = made(observables="zz", shots=20000), 20000
    x = drawn(layer, 20, dtype=torch.float32)
    sampled = layer(x)
    layer.shots = None
    exact = layer(x)
    error = ((1 - exact.square()) / shots).sqrt()
    assert ((sampled - exact).abs() <= 4.5 * error + 1e-6).all()
    upstream = torch.randn(exact.shape)
    a, b = (torch.autograd.grad((y * upstream).sum(), layer.weights)[0] for y in (sampled, exact))
    torch.testing.assert_close(a, b)  # values are of the sample, gradients of the law


@pytest.mark.parametrize("shots", [5, 1000])
def test_counts_have_the_law_of_a_multinomial(shots):
    """Means, variances and covariances, of a search for each shot and of binomials, within 5 standard errors."""
    law, rows = torch.tensor([0.1, 0.0, 0.3, 0.05, 0.0, 0.0, 0.55, 0.0]), 20000
    torch.manual_seed(0)
    found = counts(law.expand(rows, -1), shots).double()
    assert (found.sum(1) == shots).all() and not found[:, law == 0].any()
    centred, law = found - shots * law, law.double()
    products = centred[:, :, None] * centred[:, None]
    expected = shots * (law.diag() - law[:, None] * law)
    assert (centred.mean(0).abs() <= 5 * (shots * law / rows).sqrt() + 1e-9).all()
    assert ((products.mean(0) - expected).abs() <= 5 * products.std(0) / rows**0.5 + 1e-9).all()


def test_draws_follow_the_generator():
    layer = made(shots=10, noise=0.3)
    x, found = drawn(layer, 50, dtype=torch.float32), []
    for seed in (1, 1, 2):
        layer.generator = torch.Generator().manual_seed(seed)
        found.append(layer(x))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    layer.generator = None
    torch.manual_seed(1)
    assert torch.equal(layer(x), found[0])


# As a module


def test_parameters_follow_the_seed():
    one, same, other = made(seed=0), made(seed=0), made(seed=1)
    assert torch.equal(one.weights, same.weights) and not torch.equal(one.weights, other.weights)
    assert CircuitLayer(3, 3, 3).scale.eq(1).all() and one.weights.abs().max() <= torch.pi


def test_a_layer_is_copied_saved_and_loaded():
    layer = made(encoding="iqp", noise=0.1)
    layer.circuit()
    x = drawn(layer, 4, dtype=torch.float32)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    loaded = made(encoding="iqp", noise=0.1, seed=9)
    loaded.load_state_dict(torch.load(file))
    assert list(layer.state_dict()) == ["weights", "scale"]
    expected = None
    for one in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded):
        torch.manual_seed(3)
        y = one(x)
        expected = y if expected is None else expected
        assert torch.equal(y, expected)


@pytest.mark.parametrize("options", [{}, {"shots": 3}, {"noise": 0.1}, {"observables": "zz"}])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_device_is_assumed(encoding, options):
    """Tensors of the device meta have no numbers: what would leave the device fails."""
    layer = made(encoding, **options)
    moved, x = copy.deepcopy(layer).to("meta"), drawn(layer, 2, dtype=torch.float32)
    with torch.device("meta"):
        built = CircuitLayer(layer.inputs, None, 3, 2, encoding, **options)
    for one in (moved, built):
        y = one(x.to("meta"))
        assert y.is_meta and y.shape == layer(x).shape
        y.sum().backward()
        assert one.weights.grad.is_meta


def test_no_rows_and_one_row():
    layer = made()
    assert layer(torch.zeros(0, 3)).shape == (0, 3) and layer(torch.zeros(2, 0, 3)).shape == (2, 0, 3)
    assert layer(torch.zeros(3)).shape == (3,)


def test_autocast_is_off_inside():
    layer = made()
    x = drawn(layer, 5, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.float32 and torch.equal(y, layer(x.float()))


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": 4}, "inputs=4: encoding=angle takes 3 on 3 qubits"),
        ({"inputs": 3, "encoding": "amplitude"}, "inputs=3: encoding=amplitude takes 8 on 3 qubits"),
        ({"outputs": 2}, "outputs=2: observables=z gives 3 on 3 qubits; that, or None, is accepted"),
        ({"qubits": 0}, "qubits=0: an integer from 1 to 12 is accepted"),
        ({"layers": 2.0}, "layers=2.0: an integer from 1 to 32 is accepted"),
        ({"entangle": "chain"}, "entangle=chain: none, ring, all are accepted"),
        ({"observables": "x"}, "observables=x: z, zz, probabilities are accepted"),
        ({"gradient": "backprop"}, "gradient=backprop: adjoint, shift, surrogate are accepted"),
        ({"noise": 0.9}, "noise=0.9: None, or a chance from 0 to 0.75, is accepted"),
        ({"noise": float("nan")}, "noise=nan: None, or a chance from 0 to 0.75, is accepted"),
        ({"shots": 0}, "shots=0: an integer of at least 1, or None, is accepted"),
        (
            {"noise": 0.1, "backend": "aer", "gradient": "shift"},
            "noise=0.1: has an effect with backend=statevector or gradient=adjoint only; "
            "a backend brings its own noise",
        ),
    ],
)
def test_what_is_not_accepted(options, message):
    with pytest.raises(ProblemError) as raised:
        CircuitLayer(**{"inputs": 3, "outputs": None, "qubits": 3, **options})
    assert str(raised.value) == message


@pytest.mark.parametrize("key", ["encoding", "ansatz", "backend"])
def test_names_that_are_none(key):
    with pytest.raises(ProblemError, match=f"^{key}=nothing: no such {key}"):
        CircuitLayer(3, 3, 3, **{key: "nothing"})


def test_inputs_that_do_not_fit():
    layer = made()
    with pytest.raises(ProblemError, match=r"^inputs: shape \[2, 4\]; \[..., 3\] is accepted$"):
        layer(torch.zeros(2, 4))
    with pytest.raises(ProblemError, match=r"^inputs: shape \[2, 3\]; a circuit takes one row, \[3\]$"):
        layer.circuit(torch.zeros(2, 3))
    with pytest.raises(ProblemError, match=r"^inputs=0.5: 0 or 1 is accepted by encoding=basis$"):
        made("basis")(torch.tensor([0.0, 1.0, 0.5]))
