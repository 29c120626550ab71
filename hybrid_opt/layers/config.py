"""The options of a circuit layer: the group `circuit`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Readout = Literal["z", "zz", "probabilities"]


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class CircuitConfig:
    """The circuit of a quantum part."""

    qubits: Annotated[int, Field(ge=1, le=12)] = 6
    """qubits"""
    layers: Annotated[int, Field(ge=1, le=32)] = 4
    """layers, each of which encodes the inputs again, where the encoding allows it"""
    encoding: str = "angle"
    """how inputs enter: a file of hybrid_opt/circuits/encodings, or module:Class for one of your own"""
    ansatz: str = "strong"
    """gates that are trained: a file of hybrid_opt/circuits/ansatz, or module:Class for one of your own"""
    entangle: Literal["none", "ring", "all"] = "ring"
    """which qubits are entangled in a layer: none, neighbours, or all pairs"""
    observables: Readout = "z"
    """what is read out: z of each qubit, zz (and of neighbours), or probabilities of all states"""
    gradient: Literal["adjoint", "shift", "surrogate"] = "adjoint"
    """adjoint: exact, simulated; shift: parameter shift; surrogate: that of a small network fitted to each batch"""
    shots: Annotated[int, Field(ge=1)] | None = None
    """measurements of each circuit; null: exact means"""
    noise: Annotated[float, Field(ge=0, le=0.75)] | dict[str, Any] | None = None
    """p of depolarizing noise, or a model such as {name:readout,p:0.02}; null: the noise of the whole run"""
    backend: str = "statevector"
    """where it acts: statevector is simulated here; any other is asked with one job a batch"""

    def within(self, noise: Mapping[str, Any]) -> "CircuitConfig":
        """Return this circuit in a run with a noise: a mapping of `name` and options. Its own noise comes first."""
        return self if self.noise is not None or noise["name"] == "none" else replace(self, noise=dict(noise))
