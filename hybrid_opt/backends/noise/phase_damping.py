"""Phase damping: qubits lose their phase."""

from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.noise.noise import SINGLE, Floats, Noise


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class PhaseDampingConfig:
    """Qubits lose coherence, but no energy, as those with a short T2 do."""

    p: Annotated[float, Field(ge=0, le=1)] = 0.01
    """damping of each qubit of a two-qubit gate; after each run of gates on one qubit, a tenth of it"""


class PhaseDamping(Noise):
    """Coherences shrink by sqrt(1 - p). That is a Z with chance (1 - sqrt(1 - p)) / 2, exactly."""

    name, Config, mixture = "phase_damping", PhaseDampingConfig, True

    def paulis(self, qubits: int) -> Floats:
        p = self.config.p if qubits == 2 else self.config.p / SINGLE
        z = (1 - np.sqrt(1 - p)) / 2
        each = np.array([1 - z, 0.0, z, 0.0])
        chances: Floats = each if qubits == 1 else np.kron(each, each)
        return chances
