"""What options of circuit layers cost: `OMP_NUM_THREADS=1 python benchmarks/circuit_choices.py [TABLE ...]`.

gradients: how near a surrogate's gradients come to the exact ones, of a squared error over a batch of normal inputs, as
the cosine of the angle between both, on average over seeds, and with how many circuits. encodings: milliseconds for
outputs and gradients of weights and inputs at 1,024 rows of float32, 4 layers, strongly entangling. draws: the same
with noise and with shots. All take turns, and the best turn counts, by the time of this thread's processor.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Table, in_turn, parse, write
from hybrid_opt import CircuitLayer
from hybrid_opt.circuits.encodings.registry import ENCODINGS
from hybrid_opt.layers.gradients.surrogate import PAIRS

SIZES = ((2, 1), (2, 2), (3, 1), (3, 2), (4, 2), (6, 4))  # qubits, layers
TIMES = 5  # that a layer runs in each turn


def gradients(qubits: int, layers: int, rows: int, shots: int | None, seed: int) -> dict[str, Tensor]:
    """Cosines of gradients by a surrogate with the exact ones."""
    found = list[tuple[Tensor, ...]]()
    for gradient, some in (("adjoint", None), ("surrogate", shots)):
        torch.manual_seed(seed)
        layer = CircuitLayer(qubits, qubits, qubits, layers, gradient=gradient, shots=some)  # type: ignore[arg-type]
        x = torch.randn(rows, qubits, requires_grad=True)
        loss = (layer(x) - x.detach().tanh()).square().sum()
        found.append(torch.autograd.grad(loss, [*layer.parameters(), x]))
    return {
        name: torch.nn.functional.cosine_similarity(exact.flatten(), near.flatten(), 0)
        for name, exact, near in zip(("weights", "scale", "inputs"), *found, strict=True)
    }


def circuits(qubits: int, layers: int, rows: int) -> tuple[int, int]:
    """How many circuits a batch takes by shifts, and by a surrogate."""
    angles = len(CircuitLayer(qubits, qubits, qubits, layers).structure.data) + layers * 3 * qubits - qubits
    return rows * (1 + 2 * angles), rows + 2 * max(rows, PAIRS)


def times(cases: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Milliseconds of each case."""
    for case in cases.values():
        case()
    return {name: 1e3 * float(found[:, 1].min()) / TIMES for name, found in in_turn(cases, repeats).items()}


def run(qubits: int, encoding: str = "angle", **options: Any) -> Callable[[], object]:
    """A layer that runs TIMES times, forward and backward."""
    inputs = ENCODINGS.find(encoding, "encoding")().inputs(qubits)
    layer = CircuitLayer(inputs, qubits, qubits, encoding=encoding, **options)
    x = torch.randint(2, (1024, inputs)).float() if encoding == "basis" else torch.randn(1024, inputs)
    x.requires_grad_()

    def case() -> None:
        for _ in range(TIMES):
            layer(x).sum().backward()

    return case


def main() -> None:
    """Print the tables."""
    given = parse(__doc__, ["gradients", "encodings", "draws"], rows=256, seeds=5, repeats=(10, "turns of each"))
    torch.set_num_threads(1)
    figures = dict[str, dict[str, float]]()
    if "gradients" in given.parts:
        columns = "by shifts:>12,", "surrogate:>12,", "weights:>10.2f", "scale:>10.2f", "inputs:>10.2f"
        for shots in (None, 1000):
            title = f"circuits, and cosines with exact gradients: {given.rows} rows, {shots or 'no'} shots"
            table = Table(title, *columns, label="qubits, layers")
            for qubits, layers in SIZES:
                found = [gradients(qubits, layers, given.rows, shots, seed) for seed in range(given.seeds)]
                mean = {name: sum(float(each[name]) for each in found) / len(found) for name in found[0]}
                table.row(f"{qubits}, {layers}", *circuits(qubits, layers, given.rows), *mean.values())
                figures[f"gradients {qubits} {layers} {shots}"] = mean
    drawn: dict[str, dict[str, Any]] = {"exact": {}, "noise": {"noise": 0.01}}
    drawn |= {f"shots={shots}": {"shots": shots} for shots in (100, 1000)}
    for part, names in (("encodings", list(ENCODINGS)), ("draws", list(drawn))):
        if part in given.parts:
            table = Table(f"{part}: ms, forward and backward", *(f"{name}:>12.2f" for name in names), label="qubits")
            for n in (4, 6, 8):
                options = [{"encoding": name} if part == "encodings" else drawn[name] for name in names]
                cases = {name: run(n, **some) for name, some in zip(names, options, strict=True)}
                figures[f"{part} {n}"] = times(cases, given.repeats)
                table.row(f"{n}", *figures[f"{part} {n}"].values())
    write(given, figures)


if __name__ == "__main__":
    main()
