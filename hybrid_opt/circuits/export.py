"""Circuits as OpenQASM 3 and as drawings."""

from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from hybrid_opt.backends.errors import circuit_errors
from hybrid_opt.errors import ProblemError

PICTURES = (".png", ".svg", ".pdf")


def to_openqasm3(circuit: Any, values: ArrayLike | None = None) -> str:
    """A qiskit circuit in OpenQASM 3; parameters are its inputs, unless values [number of parameters] are given."""
    from qiskit import qasm3

    with circuit_errors("written in OpenQASM 3"):
        return str(qasm3.dumps(_bound(circuit, values)))


def draw_circuit(circuit: Any, values: ArrayLike | None = None, fold: int = 110) -> str:
    """A drawing in characters, folded after so many columns; -1: never."""
    with circuit_errors("drawn"):
        return str(_bound(circuit, values).draw("text", fold=fold))


def export_circuit(circuit: Any, path: str | Path, values: ArrayLike | None = None) -> None:
    """Write a circuit to a file: .qasm is OpenQASM 3; .txt is a drawing, and so are .png, .svg and .pdf.

    Raises ProblemError for another ending.
    """
    path = Path(path)
    if path.suffix == ".qasm":
        path.write_text(to_openqasm3(circuit, values))
    elif path.suffix == ".txt":
        path.write_text(draw_circuit(circuit, values) + "\n")
    elif path.suffix in PICTURES:
        _picture(draw_circuit(circuit, values), path)
    else:
        raise ProblemError(f"path={path}: a file that ends with .qasm, .txt, {', '.join(PICTURES)} is accepted")


def _bound(circuit: Any, values: ArrayLike | None) -> Any:
    import numpy as np

    return circuit if values is None else circuit.assign_parameters(np.asarray(values, np.float64))


def _picture(text: str, path: Path) -> None:
    """The drawing in a font of fixed width."""
    from matplotlib.figure import Figure

    lines = text.splitlines()
    width, height, size = max(map(len, lines)), len(lines), 10.0
    figure = Figure(figsize=(0.602 * size / 72 * (width + 2), 1.18 * size / 72 * (height + 1)))
    figure.text(0.01, 0.99, text, family="DejaVu Sans Mono", size=size, va="top", linespacing=0.99)
    figure.savefig(path, bbox_inches="tight")
