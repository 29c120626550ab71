"""Probabilistic error cancellation: the inverse of a known noise, drawn as signed Paulis."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import CircuitProgram
from hybrid_opt.backends.mitigation.channels import drawn, places_of
from hybrid_opt.backends.mitigation.technique import Expansion, Technique


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class PecConfig:
    """Probabilistic error cancellation of a known Pauli noise."""

    p: Annotated[float, Field(ge=0, le=0.5)] | None = None
    """chance of a depolarising error of a two-qubit gate, a tenth of it on one qubit; null: the program's noise"""


class Pec(Technique):
    """Draw circuits whose signed average is free of the noise, if the model is exact.

    A wrong model leaves a bias, and so do errors of the Paulis themselves. Twin: zne. Cost: at the same shots standard
    errors are Gamma times as large, so shots have to be Gamma^2 times as many; `about["overhead"]` says how many.
    Fewer shots than Gamma^2 are refused. Source: Temme, Bravyi, Gambetta 2017, arXiv 1612.02058.
    """

    name, rank, Config = "pec", 2, PecConfig

    def __init__(self, config: Any) -> None:
        self.config = config

    def expand(self, program: CircuitProgram, seed: int) -> Expansion:
        """Return the circuits that were drawn, each with its share of the shots."""
        places = places_of(self, program, self.config.p)
        return drawn(self, program, places, [place.weights(-1.0) for place in places], seed)
