"""Speed of circuit layers: `OMP_NUM_THREADS=1 python benchmarks/circuit_layer.py [--qubits 4 6 8 10]`.

Milliseconds for outputs and gradients, of weights and inputs, of a strongly entangling circuit that encodes its inputs
in each layer. All run the same gates, in float32 and on one thread: `CircuitLayer`, the same plan by PyTorch's
operators, PennyLane's default.qubit by backpropagation, and its lightning.qubit by the adjoint method. The latter takes
row by row, so it gets a few rows, and its time is scaled. `sgemm` is the time that matrix products take for as many
operations as the adjoint method has: of each gate on two amplitudes 16 multiplications and additions forward, 48 back.

All take turns, and the best turn of each counts, by the time of this thread's processor: other work on the machine only
ever adds time.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Table, in_turn, parse, write
from hybrid_opt import CircuitLayer
from hybrid_opt.layers import operators

Case = Callable[[], object]
ALONE = 4  # rows that lightning.qubit gets
TIMES = 10  # that what takes few milliseconds runs in each turn
SIDE = 768  # of the matrices that are multiplied


def ours(layer: CircuitLayer, x: Tensor, slopes: Tensor) -> Case:
    """The layer as users call it."""
    return lambda: torch.autograd.grad(layer(x), [x, *layer.parameters()], slopes)


def naive(layer: CircuitLayer, x: Tensor, slopes: Tensor) -> Case:
    """Its plan by PyTorch's operators, gate by gate."""

    def case() -> object:
        data, trained = _angles(layer, x)
        out = operators.means(layer.plan, layer.slot_gates.gates(data, trained))
        return torch.autograd.grad(out, [x, *layer.parameters()], slopes)

    return case


def pennylane(layer: CircuitLayer, x: Tensor, slopes: Tensor, device: str, method: str) -> tuple[Case, Tensor]:
    """Its gates on a device of PennyLane, and what these give."""
    import pennylane as qml

    n, count = layer.qubits, len(layer.structure.data)
    kinds = {"rx": qml.RX, "ry": qml.RY, "rz": qml.RZ, "cx": qml.CNOT}

    @qml.qnode(qml.device(device, wires=n), interface="torch", diff_method=method)  # type: ignore[untyped-decorator]
    def circuit(data: Tensor, trained: Tensor) -> Any:
        for gate in layer.structure.gates:
            place = gate.angle
            angles = [] if place < 0 else [data[..., place] if place < count else trained[place - count]]
            kinds[gate.name](*angles, wires=list(gate.qubits))
        return [qml.expval(qml.Z(q)) for q in range(n)]

    def run() -> Tensor:
        data, trained = _angles(layer, x)
        if method == "backprop":
            return torch.stack(circuit(data, trained), -1)
        return torch.stack([torch.stack(circuit(row, trained)) for row in data])

    found = run().detach()
    slopes = slopes.to(found)
    return lambda: torch.autograd.grad(run(), [x, *layer.parameters()], slopes), found


def _angles(layer: CircuitLayer, x: Tensor) -> tuple[Tensor, Tensor]:
    """Of the data [N, R], and trained [W]."""
    angles, count = layer.angles(x), len(layer.structure.data)
    return angles[:, :count], angles[0, count:]


def measure(n: int, rows: int, layers: int, repeats: int) -> dict[str, float]:
    """Milliseconds of everything."""
    torch.manual_seed(n)
    layer = CircuitLayer(n, n, qubits=n, layers=layers)
    x, slopes = torch.randn(rows, n, requires_grad=True), torch.randn(rows, n)
    few = x[:ALONE].detach().requires_grad_()
    expected = layer(x).detach()
    backprop, values = pennylane(layer, x, slopes, "default.qubit", "backprop")
    adjoint, others = pennylane(layer, few, slopes[:ALONE], "lightning.qubit", "adjoint")
    torch.testing.assert_close(values.float(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(others.float(), expected[:ALONE], rtol=0, atol=1e-5)
    square = torch.randn(SIDE, SIDE)
    cases = {
        "ours": _repeated(ours(layer, x, slopes)),
        "sgemm": _repeated(lambda: square @ square),
        "naive": naive(layer, x, slopes),
        "backprop": backprop,
        "lightning": adjoint,
    }
    for case in cases.values():
        case()
    found = {name: 1e3 * float(times[:, 1].min()) for name, times in in_turn(cases, repeats).items()}
    operations = 2 * (16 + 48) * n * 2 ** (n - 1) * layers * rows
    share = operations / (2 * SIDE**3)
    return found | {
        "ours": found["ours"] / TIMES,
        "sgemm": found["sgemm"] / TIMES * share,
        "GFLOP/s": 2e-6 * SIDE**3 * TIMES / found["sgemm"],
        "lightning": found["lightning"] * rows / ALONE,
    }


def _repeated(case: Case) -> Case:
    def times() -> None:
        for _ in range(TIMES):
            case()

    return times


def main() -> None:
    """Print the table."""
    given = parse(__doc__, qubits=[4, 6, 8, 10], rows=1024, layers=4, repeats=(5, "turns of each"))
    torch.set_num_threads(1)
    table = Table(
        f"{given.rows} rows, {given.layers} layers: ms forward and backward; lightning: {ALONE} rows, scaled",
        *("ours:8.2f", "sgemm:8.2f", "naive:9.1f", "backprop:10.1f", "lightning:11.0f", "GFLOP/s:9.0f"),
        *("ours / sgemm:14.2f", "naive / ours:14.1f", "backprop / ours:17.1f", "lightning / ours:18.0f"),
        label="n",
        width=3,
    )
    figures = {}
    for n in given.qubits:
        found = measure(n, given.rows, given.layers, given.repeats)
        ratios = {"ours / sgemm": found["ours"] / found["sgemm"]}
        ratios |= {f"{name} / ours": found[name] / found["ours"] for name in ("naive", "backprop", "lightning")}
        columns = [found[name] for name in ("ours", "sgemm", "naive", "backprop", "lightning", "GFLOP/s")]
        table.row(n, *columns, *ratios.values())
        figures[n] = found | ratios
    write(given, figures)


if __name__ == "__main__":
    main()
