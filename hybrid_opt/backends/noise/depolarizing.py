"""Depolarising noise: all Paulis are equally likely."""

from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.noise.noise import SINGLE, Floats, Noise


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class DepolarizingConfig:
    """One of the 15 Paulis of two qubits, or of the 3 of one, all equally likely."""

    p: Annotated[float, Field(ge=0, le=0.75)] = 0.01
    """chance of an error after each two-qubit gate; after each run of gates on one qubit, a tenth of it"""


class Depolarizing(Noise):
    """The state becomes the maximally mixed one with chance 16 p / 15, of one qubit with 4/3 p / 10."""

    name, Config, mixture = "depolarizing", DepolarizingConfig, True

    def paulis(self, qubits: int) -> Floats:
        p = self.config.p if qubits == 2 else self.config.p / SINGLE
        chances = np.full(4**qubits, p / (4**qubits - 1))
        chances[0] = 1 - p
        return chances
