"""The overlap of the states of two inputs."""

from typing import Annotated, Any

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.overlaps.encoded import Encoded
from hybrid_opt.overlaps.measured import frequencies
from hybrid_opt.overlaps.overlap import Floats, Overlap, OverlapConfig


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class QuantumConfig(OverlapConfig):
    """What kernels of states have."""

    encoding: str = "angle"
    """how inputs enter: a file of hybrid_opt/circuits/encodings, or module:Class for one of your own"""
    shots: Annotated[int, Field(ge=1)] | None = None
    """measurements of each circuit; null: exact"""
    backend: Any = "statevector"
    """where circuits run"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of what is measured"""


class Fidelity(Overlap):
    """|<phi(x)|phi(y)>|^2 (Havlicek et al. 2019, arXiv 1804.11326): exact, or by shots.

    A circuit encodes x, then undoes the encoding of y. The share of shots that find all zeros is the overlap. One job
    has the circuits of a whole Gram matrix, N (N - 1) / 2 where y is x.
    """

    Config = QuantumConfig
    config: QuantumConfig

    def gram(self, x: Floats, y: Floats | None) -> Floats:
        config, encoded = self.config, Encoded.of(self.config.encoding, x.shape[1])
        if config.shots is None and config.backend == "statevector":
            return _exact(encoded, x, y)
        n, m = len(x), len(x if y is None else y)
        rows, columns = np.indices((n, m)).reshape(2, -1) if y is not None else np.triu_indices(n, 1)
        circuit = encoded.circuit
        renamed = circuit.assign_parameters(_vector("b", circuit.num_parameters))
        echo = circuit.assign_parameters(_vector("a", circuit.num_parameters)).compose(renamed.inverse())
        first = encoded.angles(x)
        values = np.concatenate([first[rows], (first if y is None else encoded.angles(y))[columns]], 1)
        found = frequencies([echo], values, config.backend, config.shots, config.seed)[0][:, 0]
        if y is not None:
            return found.reshape(n, m)
        gram = np.eye(n)
        gram[rows, columns] = gram[columns, rows] = found
        return gram


def _vector(name: str, count: int) -> Any:
    from qiskit.circuit import ParameterVector

    return ParameterVector(name, count)


def _exact(encoded: Encoded, x: Floats, y: Floats | None) -> Floats:
    """By the encoding's closed form where it has one, else by states."""
    first, second = torch.from_numpy(x), torch.from_numpy(x if y is None else y)
    for rows in (first, second):
        encoded.encoding.check(rows)
    with torch.no_grad():
        known = [encoded.encoding.kernel(row, second) for row in first]  # row by row, for memory
    if len(known) and known[0] is not None:
        closed: Floats = torch.stack([row for row in known if row is not None]).numpy()
        return closed
    a = encoded.states(x)
    b = a if y is None else encoded.states(y)
    found: Floats = np.square(np.abs(a @ b.conj().T))
    return found if y is not None else (found + found.T) / 2
