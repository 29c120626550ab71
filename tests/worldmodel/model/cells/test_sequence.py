"""LSTMs with gates of all kinds as sequence modules: against torch.nn.LSTM, PennyLane and finite differences."""

from typing import Any

import pennylane as qml
import pytest
import torch
from torch import Tensor, nn

from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.config import CircuitConfig
from tests.worldmodel.model.agents import generator
from worldmodel.model.cells.sequence import LSTM

INPUTS, UNITS = 3, 2
CIRCUIT = CircuitConfig(qubits=2, layers=2)
KINDS = ("lstm", "mlp", "circuit", "product", "frozen", "fourier")


def make(gates: str, dtype: torch.dtype = torch.float64, **options: Any) -> LSTM:
    """With every parameter away from its starting value."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LSTM(INPUTS, UNITS, gates, CIRCUIT, **options).to(dtype)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("batch_first", [False, True])
def test_linear_gates_make_the_lstm_of_pytorch(batch_first: bool) -> None:
    """Outputs, states and gradients to 1e-6, in float32."""
    model = make("lstm", torch.float32, batch_first=batch_first)
    peer: Any = nn.LSTM(INPUTS, UNITS, batch_first=batch_first)
    shift = model.cell.gates.bias
    with torch.no_grad():
        peer.weight_ih_l0.copy_(model.cell.inputs.weight)
        peer.weight_hh_l0.copy_(model.cell.state.weight)
        peer.bias_ih_l0.copy_(shift.flatten())
        peer.bias_hh_l0.zero_()
    x = torch.randn(5, 4, INPUTS, generator=generator(1)).requires_grad_()
    rows = 5 if batch_first else 4
    before = tuple(torch.randn(rows, UNITS, generator=generator(seed)) for seed in (2, 3))
    for state in (None, before):
        outputs, (h, c) = model(x, state)
        theirs, (peer_h, peer_c) = peer(x, state and tuple(part[None] for part in state))
        for ours, expected in ((outputs, theirs), (h[None], peer_h), (c[None], peer_c)):
            torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
        (ours,), (expected,) = (torch.autograd.grad(y.square().sum(), [x]) for y in (outputs, theirs))
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gates", KINDS)
def test_gradients_of_inputs_states_and_parameters(gates: str) -> None:
    """Through two steps, against finite differences in float64."""
    model = make(gates)
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    x = torch.randn(2, 1, INPUTS, dtype=torch.float64, generator=generator(1)).requires_grad_()
    states = torch.randn(2, 1, UNITS, dtype=torch.float64, generator=generator(2)).requires_grad_()

    def run(x: Tensor, states: Tensor, *values: Tensor) -> Any:
        named = dict(zip(parameters, values, strict=True))
        outputs, (_, c) = torch.func.functional_call(model, named, (x, tuple(states.unbind())))
        return outputs, c

    assert torch.autograd.gradcheck(run, (x, states, *parameters.values()), atol=1e-6)


@pytest.mark.parametrize("gates", ["circuit", "product"])
def test_a_step_of_the_circuit_cell_equals_one_by_pennylane(gates: str) -> None:
    """To 1e-9: maps, angles, entanglers, scales, forget bias and the LSTM."""
    model, n = make(gates), CIRCUIT.qubits
    cell: Any = model.cell
    weights, scale = (cell.gates.body.get_parameter(name).detach() for name in ("weights", "scale"))

    @qml.qnode(qml.device("default.qubit", wires=n))  # type: ignore[misc, untyped-decorator, unused-ignore]
    def expectations(x: Tensor) -> Any:
        angles = iter(weights)
        for layer in range(CIRCUIT.layers):
            for q in range(n):
                qml.RX(scale[layer, q] * x[q].atan(), q)
                qml.RZ(next(angles), q)
                qml.RY(next(angles), q)
                if layer < CIRCUIT.layers - 1:  # the last one changes no expectation of Z
                    qml.RZ(next(angles), q)
            for q in range(n if gates == "circuit" else 0):
                qml.CNOT([q, (q + 1) % n])
        assert next(angles, None) is None
        return [qml.expval(qml.PauliZ(q)) for q in range(n)]

    x, h, c = (torch.randn(3, k, dtype=torch.float64, generator=generator(k)) for k in (INPUTS, UNITS, UNITS))
    expected = []
    with torch.no_grad():
        for row in range(3):
            found = []
            for gate in range(4):
                part = slice(n * gate, n * gate + n)
                values = cell.inputs.weight[part] @ x[row] + cell.inputs.bias[part] + cell.state.weight[part] @ h[row]
                read = torch.stack([value.double() for value in expectations(values)]) * cell.gates.gain.weight
                found.append(read @ cell.gates.out.weight[gate] + cell.gates.bias[gate, 0])
            i, f, g, o = found
            new = f.sigmoid() * c[row] + i.sigmoid() * g.tanh()
            expected.append(torch.stack([o.sigmoid() * new.tanh(), new]))
        outputs, states = model(x[None], (h, c))
    torch.testing.assert_close(torch.stack(states, 1), torch.stack(expected), rtol=0, atol=1e-9)
    torch.testing.assert_close(outputs[0], states[0])


def test_gates_open_beyond_the_range_of_expectations() -> None:
    """Sigmoids of expectations lie in [0.27, 0.73]; scales and read-outs learn to leave it."""
    torch.manual_seed(0)
    model = LSTM(1, 4, "circuit", CIRCUIT)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    x = torch.linspace(-1, 1, 16)[:, None, None].transpose(0, 1)  # one step of 16 rows
    for _ in range(60):
        optimizer.zero_grad()
        _, (_, c) = model(x, (torch.zeros(16, 4), torch.ones(16, 4)))
        c.square().mean().backward()  # least where f = 0 and i g = 0
        optimizer.step()
    assert c.max() < 0.2


def test_long_sequences_in_pieces() -> None:
    """The state that comes back carries on."""
    model = make("circuit")
    x = torch.randn(7, 2, INPUTS, dtype=torch.float64, generator=generator(4))
    whole, _ = model(x)
    first, state = model(x[:3])
    rest, _ = model(x[3:], state)
    torch.testing.assert_close(torch.cat([first, rest]), whole)


@pytest.mark.parametrize(
    ("gates", "line"),
    [
        ("gru", "gates=gru: a cell that names its gates is accepted, such as circuit or lstm"),
        ("circit", "gates=circit: no such cell; did you mean circuit?"),
    ],
)
def test_other_gates_are_refused_in_one_line(gates: str, line: str) -> None:
    with pytest.raises(ProblemError) as error:
        LSTM(INPUTS, UNITS, gates)
    assert str(error.value).startswith(line) and "\n" not in str(error.value)
