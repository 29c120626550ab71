"""`python -m worldmodel.probe circuit`: a row of measures for a circuit and for each of its twins."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hybrid_opt.circuits.ansatz.registry import ANSATZE
from hybrid_opt.circuits.encodings.registry import ENCODINGS
from hybrid_opt.circuits.reuploading import Reuploading
from hybrid_opt.layers.measures.plateau import OBSERVABLES, gradient_variances
from hybrid_opt.layers.measures.states import States
from hybrid_opt.paths import user_path
from worldmodel.launch import hardware
from worldmodel.probe.circuit.config import ProbeCircuitConfig
from worldmodel.probe.circuit.rows import TWINS, Row, row
from worldmodel.runs.atomic_file import atomic_file

COLUMNS = {
    "kind": "kind",
    "parameters": "parameters",
    "milliseconds": "ms",
    "gradient": "var. of gradients",
    "dimension": "d_eff / d",
    "bits": "of bits",
    "complex_divergence": "KL complex",
    "real_divergence": "KL real",
    "entanglement": "Q",
    "frequency": "mean freq.",
    "slope": "steepest",
    "bound": "bound",
}


def run(config: ProbeCircuitConfig) -> int:
    """Measure, print and write; returns the exit code."""
    config.check()
    hardware.set_threads(1)
    folder = user_path(config.logdir, "logdir")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for kind in TWINS:
        rows.append(row(kind, config))
        print(f"{kind}: measured", flush=True)
    plateau = list(_plateau(config))
    slopes = {f"{depth} {name}": slope for (depth, name), slope in _slopes(plateau).items()}
    print(f"\n{_table(rows)}\n\n{_landscape(plateau, slopes)}")
    found = {"rows": [asdict(row) for row in rows], "plateau": plateau, "slopes": slopes, "config": asdict(config)}
    with atomic_file(folder / "table.json") as file:
        file.write(json.dumps(found, indent=2).encode())
    _draw(folder / "probe.svg", rows, plateau)
    print(f"\n{folder}: table.json, probe.svg")
    return 0


def _plateau(config: ProbeCircuitConfig) -> Iterator[dict[str, Any]]:
    """Variances of gradients by qubits, layers and observable."""
    circuit, generator = config.circuit, torch.Generator().manual_seed(config.seed)
    encoding = ENCODINGS.find(circuit.encoding, "circuit.encoding")()
    ansatz = ANSATZE.find(circuit.ansatz, "circuit.ansatz")()
    for qubits in config.widths:
        depths = {str(layers): layers for layers in config.depths}
        depths |= {f"{config.deep}n": config.deep * qubits} if config.deep else {}
        for depth, layers in depths.items():
            states = States(Reuploading.of(encoding, ansatz, qubits, layers, circuit.entangle))
            for name in OBSERVABLES:
                found = gradient_variances(states, name, config.draws * 4, generator)
                yield {"qubits": qubits, "depth": depth, "observable": name, **found._asdict()}


def _slopes(plateau: Sequence[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """What log2 of the median variance gains by a qubit, by depth and observable."""
    groups: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for found in plateau:
        groups.setdefault((found["depth"], found["observable"]), []).append((found["qubits"], found["median"]))
    return {
        key: float(np.polyfit([n for n, _ in points], [math.log2(value) for _, value in points], 1)[0])
        for key, points in groups.items()
        if len(points) > 1
    }


def _table(rows: Sequence[Row]) -> str:
    lines = [list(COLUMNS.values())]
    lines += [[_shown(getattr(row, column)) for column in COLUMNS] for row in rows]
    return _aligned(lines)


def _landscape(plateau: Sequence[dict[str, Any]], slopes: dict[str, float]) -> str:
    lines = [["depth", "observable", "qubits", "median variance", "of the last"]]
    keys = ("depth", "observable", "qubits", "median", "last")
    lines += [[_shown(found[key]) for key in keys] for found in plateau]
    told = [f"log2 of the median by a qubit, {name}: {slope:+.2f}" for name, slope in slopes.items()]
    return "\n".join([_aligned(lines), *told])


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _draw(path: Path, rows: Sequence[Row], plateau: Sequence[dict[str, Any]]) -> None:
    """Variances by qubits, and shares of the variance by frequency."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for depth, name in dict.fromkeys((found["depth"], found["observable"]) for found in plateau):
        points = [found for found in plateau if (found["depth"], found["observable"]) == (depth, name)]
        qubits, medians = [found["qubits"] for found in points], [found["median"] for found in points]
        left.semilogy(qubits, medians, "o-", base=2, label=f"{name}, {depth} layers")
    left.set(xlabel="qubits", ylabel="median variance of gradients")
    for found in rows:
        right.plot(range(1, 1 + len(found.frequencies)), found.frequencies, "o-", label=found.kind)
    right.set(xlabel="frequency", ylabel="share of the variance")
    for axes in (left, right):
        if axes.lines:
            axes.legend(fontsize=7, frameon=False)
    with atomic_file(path) as file:
        figure.savefig(file, format="svg")
