"""Amplitude damping: qubits fall from 1 to 0."""

from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.noise.noise import SINGLE, Complexes, Noise, on_each


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class AmplitudeDampingConfig:
    """Qubits lose energy, as those with a short T1 do."""

    p: Annotated[float, Field(ge=0, le=1)] = 0.01
    """chance of each qubit of a two-qubit gate to fall from 1 to 0; after each run of gates on one qubit, a tenth"""


class AmplitudeDamping(Noise):
    """Kraus operators diag(1, sqrt(1 - p)) and sqrt(p) |0><1|.

    Twirled: X and Y with chance p / 4 each, Z with (1 - sqrt(1 - p))^2 / 4.
    """

    name, Config = "amplitude_damping", AmplitudeDampingConfig

    def kraus(self, qubits: int) -> Complexes:
        p = self.config.p if qubits == 2 else self.config.p / SINGLE
        stay, fall = np.diag([1.0, np.sqrt(1 - p)]), np.array([[0, np.sqrt(p)], [0, 0]])
        return on_each(np.stack([stay, fall]).astype(np.complex128), qubits)
