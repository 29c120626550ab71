"""A kernel of what single qubits show of a state."""

from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.overlaps.encoded import Encoded
from hybrid_opt.overlaps.fidelity import QuantumConfig
from hybrid_opt.overlaps.measured import frequencies
from hybrid_opt.overlaps.overlap import Floats, Overlap, squared_distances


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class ProjectedConfig(QuantumConfig):
    """Options of the projected kernel."""

    gamma: Annotated[float, Field(gt=0)] = 1.0
    """how fast it falls with the distance of the qubits' states"""


class Projected(Overlap):
    """exp(-gamma sum_q |rho_q(x) - rho_q(y)|_F^2) (Huang et al. 2021, arXiv 2011.01938, eq. 9).

    rho_q is the state of qubit q alone, known by its means of X, Y and Z. So N inputs take 3 N circuits, and fidelities
    take N^2.
    """

    Config = ProjectedConfig
    config: ProjectedConfig

    def gram(self, x: Floats, y: Floats | None) -> Floats:
        a = self._bloch(x)
        distances = squared_distances(a, None if y is None else self._bloch(y)) / 2  # |rho - rho'|^2 = |r - r'|^2 / 2
        found: Floats = np.exp(-self.config.gamma * distances)
        return found

    def _bloch(self, rows: Floats) -> Floats:
        """Means of X, Y and Z of each qubit, [N, 3 n]."""
        config, encoded = self.config, Encoded.of(self.config.encoding, rows.shape[1])
        if config.shots is None and config.backend == "statevector":
            return _exact(encoded.states(rows))
        circuits = [_turned(encoded.circuit, axis) for axis in "xyz"]
        laws = frequencies(circuits, encoded.angles(rows), config.backend, config.shots, config.seed)
        signs = 1.0 - 2.0 * ((np.arange(1 << encoded.qubits)[:, None] >> np.arange(encoded.qubits)) & 1)
        return np.concatenate([law @ signs for law in laws], 1)


def _exact(states: Any) -> Floats:
    qubits, means = states.shape[1].bit_length() - 1, []
    for q in range(qubits):
        parts = states.reshape(len(states), -1, 2, 1 << q)
        low, high = parts[:, :, 0], parts[:, :, 1]
        across = 2 * (low.conj() * high).sum((1, 2))
        means.append((across.real, across.imag, (np.abs(low) ** 2 - np.abs(high) ** 2).sum((1, 2))))
    return np.array([[mean[axis] for mean in means] for axis in range(3)]).reshape(3 * qubits, -1).T


def _turned(circuit: Any, axis: str) -> Any:
    """A circuit whose bits tell the means of an axis."""
    turned = circuit.copy()
    for q in range(circuit.num_qubits):
        if axis == "y":
            turned.sdg(q)
        if axis != "z":
            turned.h(q)
    return turned
